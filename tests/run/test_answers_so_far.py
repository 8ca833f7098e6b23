"""What is called wrong while a scenario run goes on: what its class does not ask for, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

from rig.errors import ErrorKind
from rig.evidence.failures import describe_failures, leave_excuses_out
from rig.limits import STALE_MOST
from rig.model import Forgery, Redelivery, RequestClass, Scenario, Share
from rig.profile import Profile, bundled_profile, load_profile
from rig.requests.targeter import Targeter, Targets
from rig.run.answers_so_far import AnswersSoFar, FirstFailure
from tests.engine.scenes import RUN, scenario
from tests.evidence.test_history import raw

NONE, LOST, TIMEOUT, STALE = ErrorKind.NONE, ErrorKind.CONNECTION_LOST, ErrorKind.TIMEOUT, ErrorKind.STALE_CONNECTION
PROFILE = load_profile(bundled_profile())


def answered(
    path: Path, sent: Scenario, *ends: tuple[int, int, ErrorKind], profile: Profile = PROFILE
) -> tuple[AnswersSoFar, Targets]:
    """What is seen of a scenario run whose only worker has written these rows."""
    file = path / "0.rows"
    file.write_bytes(raw(list(ends)).tobytes())
    targets = Targeter(profile, RUN).bind(sent)
    return AnswersSoFar(targets, profile, [file, path / "1.rows"]), targets


def test_each_kind_is_named_once_with_the_key_of_its_first_request(tmp_path: Path) -> None:
    answers, targets = answered(tmp_path, scenario(9), (4, 500, NONE), (2, 500, NONE), (3, 0, LOST), (5, 200, NONE))
    assert set(answers.look()) == {
        FirstFailure("status 500", 2, targets.key(2)),
        FirstFailure("connection lost", 3, targets.key(3)),
    }
    with (tmp_path / "0.rows").open("ab") as rows:
        rows.write(raw([(6, 500, NONE), (7, 0, TIMEOUT)]).tobytes() + b"a row that is not whole")
    assert [each.kind for each in answers.look()] == ["timeout"]
    assert answers.failures == {"status 500": 3, "connection lost": 1, "timeout": 1}
    assert describe_failures(answers.failures) == "5 failed: status 500 (3), connection lost (1), timeout (1)"
    assert answers.look() == []


def test_an_answer_that_its_class_asks_for_is_no_failure(tmp_path: Path) -> None:
    strict = {"malformed": {"status": [422]}, "invalid_json": {"status": [400]}}
    profile = Profile.model_validate({**PROFILE.model_dump(mode="json"), "answers": strict})
    shares = Share(RequestClass.MALFORMED, 2), Share(RequestClass.INVALID_JSON, 2)
    sent = scenario(6, shares=(*shares, Share(RequestClass.FORGED, 2, forgery=next(iter(Forgery)))))
    for is_wrong, statuses in ((False, (422, 400, 401)), (True, (200, 500, 204))):
        share = Targeter(profile, RUN).bind(sent).composition.share.tolist()
        ends = [(share.index(number), status, NONE) for number, status in enumerate(statuses)]
        answers, _ = answered(tmp_path, sent, *ends, profile=profile)
        answers.look()
        assert answers.failures == ({f"status {status}": 1 for status in statuses} if is_wrong else {})


def test_what_is_judged_later_is_no_failure_now(tmp_path: Path) -> None:
    own_doing = (1, 0, ErrorKind.SKIPPED), (2, 0, ErrorKind.ABORTED)
    answers, _ = answered(tmp_path, scenario(1_000), *own_doing, *((seq, 0, STALE) for seq in range(3, 7)))
    assert answers.look() == []
    assert answers.failures == {}
    assert answers.p95_ms == inf


def test_while_things_are_broken_only_what_ends_the_redelivery_is_a_failure(tmp_path: Path) -> None:
    again = replace(scenario(9), redelivery=Redelivery((1.0,)))
    asks_again = (0, 503, NONE), (1, 0, LOST), (2, 429, NONE), (3, 408, NONE)
    known = PROFILE.right_again(RequestClass.VALID, again.route)[-1]
    stored = (4, 200, NONE), (4, known, NONE), (4, 422, NONE)  # whatever comes after it was acknowledged
    broken, targets = answered(tmp_path, again, *asks_again, *stored, (5, 422, NONE))
    assert broken.look() == [FirstFailure("status 422", 5, targets.key(5))]
    assert broken.failures == {"status 422": 1}
    assert broken.p95_ms is not None and broken.p95_ms < inf  # that of the answers: LOST has none


def test_many_stale_connections_are_failures() -> None:
    few = int(STALE_MOST * 1_000)
    assert leave_excuses_out({"stale connection": few}, 1_000) == {}
    assert leave_excuses_out({"stale connection": few + 1}, 1_000) == {"stale connection": few + 1}
