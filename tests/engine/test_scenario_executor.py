"""A whole scenario run over real sockets, against servers that behave in every way that servers do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

import rig.engine.executors
import rig.model
import rig.target.http_answer
from rig.checks.littles_law import SHARE
from rig.engine.scenario_executor import ScenarioExecutor
from rig.errors import ErrorKind
from rig.evidence.history import find_causes_of_loss
from rig.model import Scenario
from rig.profile import Profile
from rig.target.endpoint import Endpoint
from tests.engine.driving import Driven, eventually, on_uvloop, run_scenario
from tests.engine.peer import OK, SAID_CLOSE, Peer, Say, Then, peer, refused_port
from tests.engine.scenes import scenario

pytestmark = pytest.mark.usefixtures("never_idle")
ANSWERED = (200, ErrorKind.NONE)
LOST = (0, ErrorKind.CONNECTION_LOST)
WRONG = (0, ErrorKind.PROTOCOL)
LATE = (0, ErrorKind.TIMEOUT)
LEFT = (0, ErrorKind.SKIPPED)
UNCONNECTED = (0, ErrorKind.CONNECT)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nto the end"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


async def met(profile: Profile, folder: Path, scene: Scenario, script: list[Say]) -> tuple[Driven, Peer]:
    """Run a scenario against a script; the client must have left no connection behind."""
    async with peer(script) as server:
        driven = await run_scenario(profile, scene, Endpoint("127.0.0.1", server.port), folder / "rows")
        await eventually(lambda: server.open_connections == 0)
    return driven, server


@pytest.mark.parametrize(
    ("first", "end", "connections"),
    [
        # The first of three requests meets ``first`` and ends so; the others must be answered all the same.
        (Say(OK), ANSWERED, 1),
        (Say(CHUNKED), ANSWERED, 1),
        (Say(INTERIM + OK), ANSWERED, 1),
        (Say(b"HTTP/1.1 204 No Content\r\n\r\n"), (204, ErrorKind.NONE), 1),
        (Say(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), (304, ErrorKind.NONE), 1),
        (Say(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), (500, ErrorKind.NONE), 1),
        # Closed with notice: by the server, or left to the client.
        (Say(SAID_CLOSE, Then.CLOSE), ANSWERED, 2),
        (Say(SAID_CLOSE), ANSWERED, 2),
        (Say(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), ANSWERED, 2),
        # The end of the stream is the end of the answer.
        (Say(UNTIL_CLOSE, Then.CLOSE), ANSWERED, 2),
        (Say(UNTIL_CLOSE, Then.HALF_CLOSE), ANSWERED, 2),
        (Say(INTERIM + UNTIL_CLOSE, Then.CLOSE), ANSWERED, 2),
        # It is not: lost, and nobody knows whether the row exists.
        (Say(b"", Then.CLOSE), LOST, 2),
        (Say(b"", Then.HALF_CLOSE), LOST, 2),
        (Say(b"", Then.RESET), LOST, 2),
        (Say(b"HTTP/1.1 200", Then.CLOSE), LOST, 2),
        (Say(LONG + b"half", Then.CLOSE), LOST, 2),
        (Say(LONG + b"half", Then.HALF_CLOSE), LOST, 2),
        (Say(CHUNKED[:-4], Then.CLOSE), LOST, 2),
        (Say(INTERIM, Then.CLOSE), LOST, 2),
        (Say(INTERIM + LONG + b"half", Then.CLOSE), LOST, 2),
        # Not HTTP/1.1, or more than one answer.
        (Say(b"\x00\x01\x02garbage\xff\r\n\r\n"), WRONG, 2),
        (Say(b"<html>no head</html>", Then.CLOSE), WRONG, 2),
        (Say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), WRONG, 2),
        (Say(OK + OK), WRONG, 2),
        # Silence.
        (Say(b"", Then.HANG), LATE, 2),
        (Say(LONG + b"half", Then.HANG), LATE, 2),
    ],
)  # fmt: skip
def test_one_request_ends_so_and_the_drive_goes_on(
    profile: Profile, tmp_path: Path, first: Say, end: tuple[int, ErrorKind], connections: int
) -> None:
    driven, server = on_uvloop(met(profile, tmp_path, scenario(3, timeout_s=0.5), [first]))
    assert driven.ends == [end, ANSWERED, ANSWERED]
    assert driven.report.connects == server.accepted == connections
    # Nothing was tried twice.
    keys = [request.headers[profile.headers.idempotency_key] for request in server.requests]
    assert len(keys) == len(set(keys)) == 3


def test_an_answer_too_large_is_given_up(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.target.http_answer, "ANSWER_LIMIT_BYTES", 100_000)
    endless = Say(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 4_000_000, Then.HANG)
    driven, _ = on_uvloop(met(profile, tmp_path, scenario(2), [endless]))
    assert driven.ends == [(0, ErrorKind.TOO_LARGE), ANSWERED]


@pytest.mark.parametrize("connections", [1, 7, 50])
def test_every_answer_may_close_its_connection(profile: Profile, tmp_path: Path, connections: int) -> None:
    count = 100
    script = [Say(SAID_CLOSE, Then.CLOSE)] * count
    driven, server = on_uvloop(met(profile, tmp_path, scenario(count, connections=connections), script))
    assert driven.ends == [ANSWERED] * count
    # At the end some connections may be opened for which no request is left.
    assert count <= server.accepted == driven.report.connects < count + connections


def test_many_connections_send_each_request_once(profile: Profile, tmp_path: Path) -> None:
    driven, server = on_uvloop(met(profile, tmp_path, scenario(500, connections=20), []))
    assert driven.ends == [ANSWERED] * 500
    assert server.accepted == 20
    keys = {request.headers[profile.headers.idempotency_key] for request in server.requests}
    assert len(keys) == len(server.requests) == 500


# --- before the start --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 299 Unasked\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("rate_per_s", [None, 1000.0])
def test_a_connection_lost_before_the_start_sends_nothing_early(
    profile: Profile, tmp_path: Path, greeting: bytes, rate_per_s: float | None
) -> None:
    async def scene() -> tuple[Driven, int]:
        async with peer(greet_first=greeting) as server:

            async def prepared(under_way: ScenarioExecutor) -> None:
                # An open loop opens one connection before the start, which is the one that is lost.
                left = 0 if rate_per_s else 1
                await eventually(lambda: sum(link.transport is not None for link in under_way._connections) == left)

            endpoint = Endpoint("127.0.0.1", server.port)
            scene = scenario(6, connections=2, rate_per_s=rate_per_s)
            driven = await run_scenario(profile, scene, endpoint, tmp_path / "rows", prepared=prepared)
            return driven, len(server.requests)

    driven, requests = on_uvloop(scene())
    assert driven.ends == [ANSWERED] * 6
    assert requests == 6
    assert driven.rows["sent_ns"].min() >= driven.start_ns


def test_what_a_server_loses_by_closing_after_an_error_is_found_with_its_error(
    profile: Profile, tmp_path: Path
) -> None:
    oops = Say(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", Then.CLOSE)
    driven, _ = on_uvloop(met(profile, tmp_path, scenario(4, connections=1), [Say(), oops]))
    assert driven.ends == [ANSWERED, (500, ErrorKind.NONE), LOST, ANSWERED]
    kinds = [ErrorKind(kind).name.lower() for kind in driven.rows["error_kind"]]
    rows = pd.DataFrame(driven.rows).assign(scenario_run="S2", error_kind=kinds)
    causes = find_causes_of_loss(rows)
    assert {int(rows["seq"][lost]): int(rows["seq"][error]) for lost, error in causes.items()} == {2: 1}


# --- no connection -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_per_s", [None, 1000.0])
def test_a_target_that_refuses_connections_ends_every_request(
    profile: Profile, tmp_path: Path, rate_per_s: float | None
) -> None:
    scene = scenario(20, connections=4, rate_per_s=rate_per_s)
    endpoint = Endpoint("127.0.0.1", refused_port())
    driven = on_uvloop(run_scenario(profile, scene, endpoint, tmp_path / "rows"))
    assert driven.ends == [UNCONNECTED] * 20
    if rate_per_s:
        intended = np.sort(driven.rows, order="seq")["intended_ns"]
        assert (intended == driven.start_ns + np.arange(20) * 1_000_000).all()


@pytest.mark.parametrize("rate_per_s", [None, 2000.0])
def test_a_target_that_vanishes_ends_the_rest(profile: Profile, tmp_path: Path, rate_per_s: float | None) -> None:
    script = [Say(), Say(), Say(SAID_CLOSE, Then.VANISH)]
    scene = scenario(10, rate_per_s=rate_per_s)
    driven, _ = on_uvloop(met(profile, tmp_path, scene, script))
    assert driven.ends == [ANSWERED] * 3 + [UNCONNECTED] * 7


# --- the open loop -----------------------------------------------------------------------------------------------


def test_the_last_requests_of_an_open_loop_outlive_the_loss_of_every_connection(
    profile: Profile, tmp_path: Path
) -> None:
    scene = scenario(5, connections=2, rate_per_s=100_000.0)
    driven, _ = on_uvloop(met(profile, tmp_path, scene, [Say(b"", Then.CLOSE), Say(b"", Then.RESET)]))
    assert sorted(driven.ends) == sorted([LOST] * 2 + [ANSWERED] * 3)


def test_a_server_may_close_idle_connections_without_a_word(profile: Profile, tmp_path: Path) -> None:
    scene = scenario(4, connections=2, rate_per_s=20.0)
    driven, _ = on_uvloop(met(profile, tmp_path, scene, [Say(OK, Then.CLOSE)] * 4))
    # What was sent into a closing connection is lost; whether that happens is a matter of microseconds.
    assert set(driven.ends) <= {ANSWERED, LOST}
    assert driven.ends[0] == ANSWERED


def test_intended_times_are_kept_while_requests_wait(profile: Profile, tmp_path: Path) -> None:
    scene = scenario(10, rate_per_s=1000.0, timeout_s=0.2)
    driven, _ = on_uvloop(met(profile, tmp_path, scene, [Say(b"", Then.HANG)]))
    rows = np.sort(driven.rows, order="seq")
    assert driven.ends == [LATE] + [ANSWERED] * 9
    assert (rows["intended_ns"] == driven.start_ns + np.arange(10) * 1_000_000).all()
    assert (rows["sent_ns"] >= rows["intended_ns"]).all()
    # They waited for the first one's timeout, and their times say so.
    assert rows["sent_ns"][1] >= rows["done_ns"][0]


def test_what_does_not_fit_the_queue_is_skipped(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.engine.executors, "QUEUE_LIMIT", 3)
    scene = scenario(10, rate_per_s=100_000.0, timeout_s=0.2)
    driven, _ = on_uvloop(met(profile, tmp_path, scene, [Say(b"", Then.HANG)]))
    assert driven.ends == [LATE] + [ANSWERED] * 3 + [LEFT] * 6
    assert driven.rows["intended_ns"].min() > 0


def test_requests_that_were_due_and_never_sent_are_on_both_sides_of_littles_law(
    profile: Profile, tmp_path: Path
) -> None:
    """999 wait behind one that hangs, until the deadline: for 0.25 s in the mean."""
    scene = scenario(1_000, rate_per_s=10_000.0, timeout_s=0.6, deadline_s=0.3)
    driven, _ = on_uvloop(met(profile, tmp_path, scene, [Say(b"", Then.HANG)]))
    report = driven.report
    assert report.skipped == 999
    assert report.in_system_mean == pytest.approx(1 + report.unsent_waited_s / report.wall_s, rel=SHARE)


# --- cut short ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_per_s", [None, 10.0])
def test_past_the_deadline_nothing_is_sent_and_what_is_in_flight_ends(
    profile: Profile, tmp_path: Path, rate_per_s: float | None
) -> None:
    scene = scenario(5, rate_per_s=rate_per_s, timeout_s=0.4, deadline_s=0.05)
    driven, server = on_uvloop(met(profile, tmp_path, scene, [Say(b"", Then.HANG)]))
    assert driven.ends == [LATE] + [LEFT] * 4
    assert len(server.requests) == 1


@pytest.mark.parametrize("rate_per_s", [None, 1000.0])
def test_an_abort_gives_up_what_is_in_flight(profile: Profile, tmp_path: Path, rate_per_s: float | None) -> None:
    async def scene() -> Driven:
        async with peer([Say(b"", Then.HANG)] * 5) as server:

            async def running(under_way: ScenarioExecutor) -> None:
                await eventually(lambda: len(server.requests) == 2)
                under_way.abort()

            endpoint = Endpoint("127.0.0.1", server.port)
            scene = scenario(5, connections=2, rate_per_s=rate_per_s)
            driven = await run_scenario(profile, scene, endpoint, tmp_path / "rows", running=running)
            await eventually(lambda: server.open_connections == 0)
            return driven

    driven = on_uvloop(scene())
    assert driven.ends == [(0, ErrorKind.ABORTED)] * 2 + [LEFT] * 3


def test_an_abort_before_the_start_sends_nothing(profile: Profile, tmp_path: Path) -> None:
    async def scene() -> tuple[Driven, Peer]:
        async with peer() as server:

            async def prepared(under_way: ScenarioExecutor) -> None:
                under_way.abort()

            endpoint = Endpoint("127.0.0.1", server.port)
            driven = await run_scenario(profile, scenario(5), endpoint, tmp_path / "rows", prepared=prepared)
            return driven, server

    driven, server = on_uvloop(scene())
    assert driven.ends == [LEFT] * 5
    assert server.requests == []


def test_an_error_of_the_rig_ends_the_drive_and_keeps_the_rows(profile: Profile, tmp_path: Path) -> None:
    async def scene() -> None:
        async with peer([Say(), Say(b"", Then.HANG)]) as server:

            async def running(under_way: ScenarioExecutor) -> None:
                await eventually(lambda: len(server.requests) == 2)
                under_way.fail(RuntimeError("a fault of the rig"))

            endpoint = Endpoint("127.0.0.1", server.port)
            await run_scenario(profile, scenario(5), endpoint, tmp_path / "rows", running=running)

    with pytest.raises(RuntimeError, match="a fault of the rig"):
        on_uvloop(scene())
    kept = np.fromfile(tmp_path / "rows", dtype=rig.evidence.scenario_runs.RESULT)
    assert kept["seq"][0] == 0
    assert kept["status"][0] == 200


def test_nothing_is_left_open(profile: Profile, tmp_path: Path) -> None:
    async def scene(number: int) -> None:
        async with peer([Say(SAID_CLOSE), Say(b"", Then.RESET), Say(b"", Then.HANG)]) as server:
            endpoint = Endpoint("127.0.0.1", server.port)
            scene = scenario(20, connections=5, rate_per_s=1000.0, timeout_s=0.2)
            await run_scenario(profile, scene, endpoint, tmp_path / str(number))
            await eventually(lambda: server.open_connections == 0)

    on_uvloop(scene(0))
    before = psutil.Process().num_fds()
    for number in range(1, 4):
        on_uvloop(scene(number))
    assert psutil.Process().num_fds() <= before


def test_a_rows_file_that_exists_is_refused_before_anything_is_opened(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"an earlier run's")

    async def scene() -> None:
        async with peer() as server:
            with pytest.raises(FileExistsError):
                await run_scenario(profile, scenario(), Endpoint("127.0.0.1", server.port), tmp_path / "rows")
            assert server.accepted == 0

    on_uvloop(scene())
    assert (tmp_path / "rows").read_bytes() == b"an earlier run's"
