"""The web UI's part of the master. ``tests/locust/test_inside.py`` runs this."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from flask import Flask
from locust.stats import RequestStats, StatsError

from rig.locust_bridge import master_ui


def test_the_master_goes_on_while_a_pack_is_zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers would take one that is silent for ten seconds for dead."""
    pack = tmp_path / "a-pack"
    (pack / "history").mkdir(parents=True)
    (pack / "history" / "rows").write_bytes(b"rows")
    went_on = threading.Event()
    waited: list[bool] = []

    class Zip(zipfile.ZipFile):
        def write(self, *words: Any, **named: Any) -> None:
            waited.append(went_on.wait(20))
            super().write(*words, **named)

    monkeypatch.setattr(master_ui.zipfile, "ZipFile", Zip)
    gevent.spawn(went_on.set)
    bridge: Any = SimpleNamespace(results=[{"pack": str(pack)}])
    with Flask("test").test_request_context():
        answer = master_ui.View(bridge).pack()
        answer.direct_passthrough = False
        body = answer.get_data()
    assert waited == [True]
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.read("a-pack/history/rows") == b"rows"


def test_a_pack_that_was_moved_is_not_there(tmp_path: Path) -> None:
    bridge: Any = SimpleNamespace(results=[{"pack": str(tmp_path / "moved")}])
    with Flask("test").test_request_context():
        seen = master_ui.View(bridge)
        assert (seen.pack().status_code, seen.report().status_code) == (404, 404)


CERTIFICATE = {"rps": 45_000, "floor_rps": 2_000}
RESULT = {
    "verdict": "FAIL",
    "sentence": "1 of 2 gates FAIL: S2.rows",
    "pack": "results/a-pack",
    "digest": "00",
    "about_speed": ("speed", "nothing stands out"),
    "examples": {"S2.rows": "valid 7 of S2-b0"},
    "gates": [
        {"id": "S2.answers", "verdict": "PASS", "reason": "", "figures": {}},
        {"id": "S2.rows", "verdict": "FAIL", "reason": "2 lost", "figures": {"canonical": 8, "dead": 0, "lost": 2}},
    ],
}


def view(**parts: Any) -> dict[str, Any]:
    """What ``/rig/state`` says of a session; its test sent ten requests of S2, of which ``failed`` failed."""
    stats, failed, kind = RequestStats(), parts.pop("failed", 0), parts.pop("kind", "status 500")
    for number in range(10):
        stats.log_request("POST", "S2 UniqueStorm", 10.0 * (number + 1), 0)
    for _ in range(failed):
        stats.log_error("POST", "S2 UniqueStorm", kind)
    session = {
        "environment": SimpleNamespace(stats=stats, parsed_options=None),
        "runner": SimpleNamespace(user_count=5),
        "certificate": CERTIFICATE,
        "status": "running",
        "test": None,
        "busy": "",
        "error": "",
        "on_purpose": "",
        "results": [],
        "missing": lambda test: [],
        "examples": {StatsError.create_key("POST", "S2 UniqueStorm", kind): "a-key"},
    } | parts
    with Flask("test").app_context():
        return dict(master_ui.View(SimpleNamespace(**session)).state().get_json())  # type: ignore[arg-type]


TEST = SimpleNamespace(workers={"w": SimpleNamespace(number=0, lost="")})


def test_before_and_during_a_test_nothing_is_green_or_red() -> None:
    assert view(status="ready")["head"]["title"] == "Ready"
    assert view(busy="a test is being prepared", results=[RESULT])["head"]["title"] == "Preparing"
    head = view(test=TEST)["head"]
    assert (head["word"], head["title"]) == ("", "Nothing failed so far")


def test_what_has_failed_is_red_at_once_and_nothing_is_good_so_far_any_more() -> None:
    state = view(test=TEST, failed=1)
    assert state["head"]["word"] == "FAIL"
    said = "Of 10 requests 1 failed: status 500; the first has the key a-key"
    assert state["head"]["sentence"].startswith(said)
    wrong = {"class": "S2 UniqueStorm", "answer": "status 500", "requests": 1, "first key": "a-key"}
    assert wrong in state["tables"]["rig-errors"]
    assert {"title": "Failures", "value": 1, "verdict": "FAIL"} in state["tiles"]
    assert view(test=TEST, failed=1, busy="the last test is still being judged")["head"]["word"] == "FAIL"
    assert view(test=TEST, missing=lambda test: [0])["head"]["word"] == "INVALID"


def test_what_the_rig_gave_up_by_itself_is_not_red() -> None:
    state = view(test=TEST, failed=1, kind="aborted")
    assert state["head"]["word"] == ""
    assert {"title": "Failures", "value": 0, "verdict": ""} in state["tiles"]


def test_a_verdict_has_its_gates_failing_first_with_an_example_and_the_rows_of_each_class() -> None:
    state = view(results=[RESULT])
    assert (state["head"]["word"], state["head"]["sentence"]) == ("FAIL", "1 of 2 gates FAIL: S2.rows")
    assert [(gate["gate"], gate["example"]) for gate in state["tables"]["rig-gates"]] == [
        ("S2.rows", "valid 7 of S2-b0"),
        ("S2.answers", ""),
    ]
    (of_s2,) = state["tables"]["rig-classes"]
    assert (of_s2["requests"], of_s2["canonical rows"], of_s2["rows"]) == (10, 8, "2 lost")
    assert (of_s2["p50 ms"], of_s2["p99 ms"]) == (60, 100)


def test_a_test_that_could_not_be_judged_does_not_show_the_verdict_of_the_one_before() -> None:
    state = view(results=[RESULT], error="the target does not answer")
    assert (state["head"]["word"], state["head"]["sentence"]) == ("ERROR", "the target does not answer")
    assert state["verdict"] is None
