"""Personal data in answers and metrics, in whatever spelling."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from rig.evidence.echoes import Echoes
from rig.evidence.history import History
from rig.evidence.worker_files import keep_answers
from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import bundled_profile, load_profile
from rig.requests.targeter import Targeter
from rig.run.echoes import search_answers, search_responses
from rig.target.http_probe import ProbeResponse
from rig.truth.expected import RequestIndex

SCENARIO = Scenario("echoes", "", 2, "stripe", ("A",), (Share(RequestClass.PERSONAL, 2),), Pace(1))
TARGETER = Targeter(load_profile(bundled_profile()), RunKey(1, "run", 1_700_000_000))
INDEX = RequestIndex(TARGETER, [SCENARIO])
WORD, DIGITS, ADDRESS = TARGETER.bind(SCENARIO).canary(1).tokens


@pytest.mark.parametrize(
    "said",
    [
        WORD, WORD.upper(), WORD[::-1], quote(f"{WORD}@x", safe=""), base64.b64encode(f"to {WORD}@x".encode()).decode(),
        WORD.encode().hex(), DIGITS, f"+{DIGITS[:4]}-{DIGITS[4:]}", ADDRESS,
    ],
)  # fmt: skip
def test_a_value_is_found_in_the_head_and_in_the_body(said: str) -> None:
    for response, part in (
        (ProbeResponse(422, body=f'{{"input": "{said}"}}'.encode()), "body"),
        (ProbeResponse(200, headers={"x-user": said}), "head"),
    ):
        (hit,) = search_responses([response], INDEX, "an answer")
        assert (hit.place, hit.request) == (f"the {part} of an answer", "echoes-2-stripe-1 request 1 of tenant A")


def test_one_answer_of_a_thousand_is_found_among_those_that_were_kept_of_the_load(tmp_path: Path) -> None:
    def said(body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 20:01:00 GMT\r\n\r\n" + body

    history = History(tmp_path)
    answers = [said(b'{"id":"%d"}' % number) for number in range(3_000)]
    answers[1_234] = said(DIGITS.encode()[::-1])
    keep_answers(history.rows_file(SCENARIO, 0), answers[:2_000])
    keep_answers(history.rows_file(SCENARIO, 1), answers[2_000:])
    taken = list(history.take_answers(SCENARIO))
    assert taken == answers
    (hit,) = search_answers(taken, INDEX, "an answer")
    assert (hit.place, hit.what) == ("the body of an answer", f"value {DIGITS} (reversed)")
    assert list(history.take_answers(SCENARIO)) == []


def test_answers_that_nobody_took_are_removed(tmp_path: Path) -> None:
    history = History(tmp_path)
    keep_answers(history.rows_file(SCENARIO, 0), [b"HTTP/1.1 200 OK\r\n\r\n"])
    history.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_of_no_request_of_the_run_is_no_hit() -> None:
    other = ProbeResponse(200, body=b"cnry0123456789abcdef")
    assert list(search_responses([other, ProbeResponse(0, problem="timed out")], INDEX, "an answer")) == []
    assert Echoes().in_answers == ()
