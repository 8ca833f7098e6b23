"""Whatever `rig init` is given, and locust's masters and workers say: it is read, or refused in words.

Metrics are in ``tests/diagnosis/test_pool_metrics.py``, answers in ``tests/target/test_http_answer.py`` and
``tests/engine/test_wire.py``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.cli import main
from rig.errors import ConfigError, ExitCode, Unavailable
from rig.evidence.pack import Pack
from rig.locust_bridge.master_test import LocustTest
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.wire import CLOCK, PLAN, read_message
from rig.profile import load_profile
from tests.fuzz.effort import few, many
from tests.fuzz.hostile import changed, spoiled, values
from tests.locust.plans import planned

# --- what `rig init` is given ---

EVENT = {
    "id": "evt_1", "type": "order.paid", "created": 1700000000, "data": {"object": {"amount": 1250, "email": "a@b.c"}},
    "lines": [{"sku": "x", "price": "12.50"}], "note": "it's <b>",
}  # fmt: skip
CURL = (
    b"curl 'http://127.0.0.1:8000/hooks?shop=1' -H 'X-Topic: a' -H 'Content-Type: application/json' "
    b"""--data-raw $'{"id":"p1","note":"it\\'s","total":"12.50"}' --compressed"""
)


def drafted_or_refused(folder: Path, event: bytes, capsys: pytest.CaptureFixture[str], option: str = "--event") -> None:
    given, made = folder / "given", folder / "rig.toml"
    given.write_bytes(event)
    made.unlink(missing_ok=True)
    code = main(["init", str(made), "--yes", option, str(given)])
    said = capsys.readouterr()
    assert code in (ExitCode.PASS, ExitCode.USAGE, ExitCode.CONFIG), said.err
    assert "Traceback" not in said.err
    assert made.exists() is (code == ExitCode.PASS)
    if made.exists():
        assert load_profile(made).routes


events = changed(EVENT).map(lambda event: json.dumps(event).encode(errors="surrogatepass"))
spoilt = spoiled(json.dumps(EVENT).encode()) | st.binary(max_size=64)


@few(25)
@given(event=events | spoilt)
def test_an_event_of_any_form(tmp_path: Path, capsys: pytest.CaptureFixture[str], event: bytes) -> None:
    drafted_or_refused(tmp_path, event, capsys)


@many(600)
@given(event=events | spoilt)
def test_many_events(tmp_path: Path, capsys: pytest.CaptureFixture[str], event: bytes) -> None:
    drafted_or_refused(tmp_path, event, capsys)


@few(25)
@given(pasted=spoiled(CURL) | st.binary(max_size=64))
def test_a_pasted_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], pasted: bytes) -> None:
    drafted_or_refused(tmp_path, pasted, capsys, "--from-curl")


@many(600)
@given(pasted=spoiled(CURL) | st.binary(max_size=64))
def test_many_pasted_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], pasted: bytes) -> None:
    drafted_or_refused(tmp_path, pasted, capsys, "--from-curl")


# --- what masters and workers of locust say ---

SAID = {
    "ack": {"index": 0},
    "spawn": {"timestamp": 1.5, "user_classes_count": {"S2Unique": 3}, "host": None, "stop_timeout": 0.0},
    CLOCK: {"sent_ns": 1, "master_ns": 2, "wall_offset_ns": 3, "boot_id": "b"},
    PLAN: planned("http://127.0.0.1:1"),
    "heartbeat": None,
}


@st.composite
def packed(draw: st.DrawFn) -> bytes:
    """A message of a master, with something wrong in it."""
    kind = draw(st.sampled_from(list(SAID)))
    data = draw(changed(SAID[kind]) if SAID[kind] and draw(st.booleans()) else values)
    try:
        whole: bytes = msgpack.packb((kind, data, "node"))
    except (ValueError, OverflowError, TypeError):  # what msgpack cannot say, nobody hears
        whole = msgpack.packb((kind, None, "node"))
    return draw(spoiled(whole)) if draw(st.booleans()) else whole


def heard_or_refused(message: bytes) -> None:
    try:
        heard = read_message(message, "tcp://127.0.0.1:5557")
    except Unavailable as error:
        assert "does not speak locust's protocol" in str(error)
        return
    match heard.type:
        case "ack":
            assert int((heard.data or {}).get("index", 0)) >= 0
        case "spawn":
            assert heard.data["timestamp"] is not None
            assert all(count >= 0 for count in heard.data["user_classes_count"].values())
        case other if other == CLOCK:
            assert heard.data["sent_ns"] + heard.data["master_ns"] + heard.data["wall_offset_ns"] is not None
        case other if other == PLAN:
            try:
                LocustPlan.from_wire(heard.data)
            except ConfigError as error:
                assert "the master's plan cannot be read" in str(error)


@few(150)
@given(message=packed() | st.binary(max_size=64))
def test_any_message_of_a_master(message: bytes) -> None:
    heard_or_refused(message)


@many(3000)
@given(message=packed() | st.binary(max_size=64))
def test_many_messages_of_a_master(message: bytes) -> None:
    heard_or_refused(message)


REPORT = {
    "stats": [], "errors": {}, "user_count": 1, "stats_total": {"num_requests": 3, "num_failures": 0},
    "rig": {"sequence": 1, "credit": {"S2Unique": 1}, "spent": False},
}  # fmt: skip
ROWS = {"label": "S2-1", "worker": 0, "data": b"rows"}
ACCOUNT = {
    "number": 0, "node": "n", "host": "h", "pid": 1, "reports": 1, "requests": 3, "failures": 0, "cpu_s": 0.1,
    "wall_s": 1.0, "clock_offset_ns": 0, "clock_error_ns": 0, "batches": [], "notes": [], "overdue": 0,
}  # fmt: skip


def taken_or_lost(folder: Path, data: st.DataObject) -> None:
    """A worker that says nonsense is lost, or its rows are; the master goes on, and writes nothing elsewhere."""
    pack = Pack.create(folder / "results", "ui", 7, datetime.now(UTC))
    test = LocustTest(pack, LocustPlan.from_wire(planned("http://127.0.0.1:1")), alone=False)
    test.add_worker("node")
    outside = folder / "outside"
    outside.mkdir(exist_ok=True)
    test.keep_rows("node", ROWS)  # the pack of this test has no folder for them
    assert "No such file" in test.workers["node"].lost
    for take, said in ((test.take_report, REPORT), (test.keep_rows, ROWS), (test.keep_account, ACCOUNT)):
        take("node", data.draw(changed(said) | values))
    assert test.books(0, 0).workers[0].node == "node"
    assert test.requests >= 0
    assert not list(outside.iterdir())


@few(60)
@given(data=st.data())
def test_anything_that_a_worker_says(tmp_path: Path, data: st.DataObject) -> None:
    taken_or_lost(tmp_path, data)


@many(1500)
@given(data=st.data())
def test_much_that_a_worker_says(tmp_path: Path, data: st.DataObject) -> None:
    taken_or_lost(tmp_path, data)
