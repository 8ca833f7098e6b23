"""S10 as a user runs it: seeded defects and another team's service, each failure shrunk to one event of one field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ConfigError, ExitCode, UsageError
from rig.evidence.shapes import S10
from rig.profile import Profile, bundled_profile, load_profile
from rig.run.job import Job
from rig.settings import Settings
from rig.verbs.shapes import add_shapes
from tests.cli.commands import QUICK, Ended, only_pack, rig
from tests.foreign.running import PROFILE


def job(max_requests: int = 10**6, **scenarios: Any) -> Job:
    plain = load_profile(bundled_profile())
    document = plain.model_dump(mode="json") | {"scenarios": scenarios}
    return Job("run", (), Settings(max_requests=max_requests), Profile.model_validate(document), Path())


def routes_of(one: Job) -> list[str]:
    return [scenario.route for scenario in one.scenarios if scenario.id == S10]


def test_it_is_sent_to_each_route_where_nothing_else_is_asked_for() -> None:
    routes = [route.name for route in job().profile.routes]
    assert routes_of(add_shapes(job(), None, documented=False)) == routes
    assert routes_of(add_shapes(job(), frozenset({"S2", S10}), documented=False)) == routes
    assert routes_of(add_shapes(job(only=["S10"]), None, documented=False)) == routes


def test_it_is_in_no_documented_count_and_in_no_other_scenario() -> None:
    assert add_shapes(job(), None, documented=True).scenarios == ()
    assert add_shapes(job(), frozenset({"S2"}), documented=False) == job()
    assert add_shapes(job(only=["S2"]), None, documented=False) == job(only=["S2"])


@pytest.mark.parametrize("left_out", [{"off": True}, {"only": ["texts"], "skip": ["texts"]}])
def test_what_the_profile_leaves_out_is_not_run_by_name(left_out: dict[str, Any]) -> None:
    assert "leaves it out" in add_shapes(job(shapes=left_out), None, documented=False).left_out[S10]
    with pytest.raises(UsageError, match="leaves it out"):
        add_shapes(job(shapes=left_out), frozenset({S10}), documented=False)
    with pytest.raises(ConfigError, match="leaves it out"):
        add_shapes(job(shapes=left_out, only=["S10"]), None, documented=False)


def test_it_is_left_out_where_a_run_may_not_send_so_much() -> None:
    few = job(max_requests=100)
    assert "more than a run may send" in add_shapes(few, None, documented=False).left_out[S10]


def run(folder: Path, *words: str, **env: str) -> Ended:
    options = ("--only", "S10", *QUICK, "--json", "--out", str(folder))
    return rig("ladder", *words, *options, env=env)


def smallest(ended: Ended, gate: str) -> list[str]:
    (found,) = (each for each in ended.document()["gates"] if each["id"] == gate)
    said: list[str] = found["figures"]["smallest"]
    return said


@pytest.mark.full
@pytest.mark.parametrize(
    ("defect", "gate", "sentence"),
    [
        ("large-amounts-500", "S10.answers", "data.object.amount >= 2147483648: is answered 500"),
        ("signature-over-rewritten-json", "S10.answers", "is answered 401, though it is signed"),
        ("case-deduplication", "S10.keys", "keys that differ only in the case of a letter"),
        ("text-composed", "S10.content", '= "e\\u0301" (text in NFD): is stored altered'),
    ],
)
def test_a_seeded_defect_is_shrunk_to_one_event_of_one_field(
    tmp_path: Path, defect: str, gate: str, sentence: str
) -> None:
    ended = run(tmp_path, "--reference", "--defect", defect)
    assert ended.code == ExitCode.FAIL, ended.err
    assert {each["id"] for each in ended.document()["gates"] if each["verdict"] == "FAIL"} == {gate}
    assert any(sentence in each for each in smallest(ended, gate))
    pack = only_pack(tmp_path)
    findings = json.loads((pack / "shapes.json").read_text())["findings"]
    for each in findings:
        assert len(each["changes"]) == len(each["fields"][:1]) == 1
        assert each["is_smallest"]
        assert json.loads((pack / each["file"]).read_bytes())
    shown = rig("show", str(pack), gate)
    assert sentence in shown.out
    assert "--data-binary @shapes/" in shown.out
    assert sentence.split(" (")[0] in (pack / "junit.xml").read_text().replace("&quot;", '"').replace("&gt;", ">")


@pytest.mark.full
def test_what_another_teams_service_lets_its_database_find_out_is_found_and_shrunk(tmp_path: Path) -> None:
    ended = run(tmp_path, "--profile", str(PROFILE), PARCELS_TAKES_ANYTHING="1")
    assert ended.code == ExitCode.FAIL, ended.err
    answers, content = smallest(ended, "S10.answers"), smallest(ended, "S10.content")
    for words in ('= "\\u0000" (a NUL): is answered 500', "total >= 10000000000.00: is answered 500"):
        assert any(words in each for each in answers), answers
    assert "refund.cents >= 1000000000000: is answered 500" in answers
    assert any('total = "1.005"' in each and "rounded" in each for each in content), content
