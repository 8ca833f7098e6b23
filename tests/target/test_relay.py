"""The relay passes all bytes and closes while its way is whole, and breaks the way as it is told."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from rig.errors import RigError
from rig.machine.child import read_first_line, wait_until
from rig.machine.processes import alive
from rig.target.postgres import Database
from rig.target.relay import Relay

WAIT_S = 10.0
SILENCE_S = 0.15


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.settimeout(WAIT_S)
        yield opened


@pytest.fixture
def relay(listener: socket.socket) -> Iterator[Relay]:
    with Relay(listener.getsockname()) as started:
        yield started


@pytest.fixture
def pair(relay: Relay, listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of one connection through the relay: who connected, and who accepted."""
    with connect(relay) as near, accept(listener) as far:
        yield near, far


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(relay.address, WAIT_S)


def accept(listener: socket.socket) -> socket.socket:
    accepted = listener.accept()[0]
    accepted.settimeout(WAIT_S)
    return accepted


def read(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := end.recv(size - len(data))):
        data += more
    return data


def assert_silent(end: socket.socket) -> None:
    """Neither bytes nor a close arrive."""
    end.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        end.recv(1)
    end.settimeout(WAIT_S)


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def test_bytes_pass_in_both_directions(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"\x00request")
    assert read(far, 8) == b"\x00request"
    far.sendall(b"answer\xff")
    assert read(near, 7) == b"answer\xff"


def test_one_side_may_end_and_still_be_answered(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"last")
    near.shutdown(socket.SHUT_WR)
    assert read(far, 5) == b"last"
    far.sendall(b"answer" * 100_000)
    far.close()
    assert read(near, 600_001) == b"answer" * 100_000


def test_a_reset_is_passed_on(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    reset(near)
    with pytest.raises(ConnectionResetError):
        far.recv(1)


def test_a_slow_reader_gets_all_and_the_sender_has_to_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.setblocking(False)
    sent = 0
    while select.select([], [near], [], SILENCE_S)[1]:
        sent += near.send(b"x" * 65536)
    assert sent < 64 << 20, "the relay keeps as much as is sent"
    near.shutdown(socket.SHUT_WR)
    assert len(read(far, sent + 1)) == sent


def test_an_upstream_that_refuses_shows_as_a_reset(relay: Relay, listener: socket.socket) -> None:
    listener.close()
    with pytest.raises(ConnectionResetError), connect(relay) as near:  # the reset may come before connect() ends
        near.recv(1)


def test_a_cut_resets_both_sides_and_refuses_until_it_is_healed(
    relay: Relay, listener: socket.socket, pair: tuple[socket.socket, socket.socket]
) -> None:
    relay.cut()
    for end in pair:
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(relay)
    relay.heal()
    with connect(relay) as near, accept(listener) as far:
        near.sendall(b"again")
        assert read(far, 5) == b"again"


def test_a_held_way_passes_nothing_and_closes_nothing(relay: Relay, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    relay.hold()
    near.sendall(b"first ")
    near.sendall(b"second")
    near.close()
    far.sendall(b"answer")
    assert_silent(far)
    relay.heal()
    assert read(far, 12) == b"first second"


def test_a_connection_made_while_the_way_is_held_reaches_the_upstream_when_it_is_healed(
    relay: Relay, listener: socket.socket
) -> None:
    relay.hold()
    with connect(relay) as near:
        near.sendall(b"request")
        assert_silent(near)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.settimeout(WAIT_S)
        relay.heal()
        with accept(listener) as far:
            assert read(far, 7) == b"request"


def test_a_connection_given_up_while_the_way_is_held_does_no_harm(relay: Relay, listener: socket.socket) -> None:
    relay.hold()
    reset(connect(relay))
    relay.heal()
    with connect(relay) as near:
        near.sendall(b"next")
        with accept(listener) as given_up, pytest.raises(ConnectionResetError):
            given_up.recv(1)
        with accept(listener) as far:
            assert read(far, 4) == b"next"


def test_a_delay_holds_for_each_direction(relay: Relay, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    relay.delay(50)
    began = time.monotonic()
    near.sendall(b"1")
    assert read(far, 1) == b"1"
    far.sendall(b"2")
    assert read(near, 1) == b"2"
    assert time.monotonic() - began >= 0.1


def test_what_is_still_delayed_when_the_way_is_healed_passes_in_order(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    relay.delay(3_600_000)
    near.sendall(b"early ")
    assert_silent(far)
    relay.heal()
    near.sendall(b"late")
    near.close()
    assert read(far, 11) == b"early late"


def test_a_throttled_way_is_slow_and_loses_nothing(relay: Relay, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    relay.throttle(100_000)
    began = time.monotonic()
    near.sendall(bytes(range(250)) * 80)
    near.close()
    assert read(far, 20_001) == bytes(range(250)) * 80
    assert time.monotonic() - began >= 0.18


def test_throttled_connections_share_the_way(relay: Relay, listener: socket.socket) -> None:
    relay.throttle(100_000)
    nears = [connect(relay) for _ in range(4)]
    fars = [accept(listener) for _ in nears]
    began = time.monotonic()
    for near in nears:
        near.sendall(b"x" * 5000)
        near.close()
    assert [len(read(far, 5001)) for far in fars] == [5000] * 4
    assert time.monotonic() - began >= 0.15
    for far in fars:
        far.close()


def test_a_mute_way_passes_requests_no_answers_and_no_closes(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    relay.mute()
    near.sendall(b"request")
    assert read(far, 7) == b"request"
    far.sendall(b"answer")
    assert_silent(near)
    near.close()
    assert_silent(far)
    relay.heal()
    far.settimeout(WAIT_S)
    with suppress(ConnectionResetError):  # by the answer, which meets a closed socket
        assert far.recv(1) == b""


def test_a_way_that_is_mute_the_other_way_passes_answers_and_no_requests(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    relay.mute("requests")
    near.sendall(b"request")
    far.sendall(b"answer")
    assert read(near, 6) == b"answer"
    assert_silent(far)
    relay.heal()
    assert read(far, 7) == b"request"


def test_a_half_open_connection_is_closed_at_the_far_end_alone(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    relay.half_open()
    far.settimeout(WAIT_S)
    with suppress(ConnectionResetError):
        assert far.recv(1) == b""
    near.sendall(b"request")
    assert_silent(near)
    relay.heal()
    near.sendall(b"again")
    assert_silent(near)
    relay.cut()
    near.settimeout(WAIT_S)
    with pytest.raises(ConnectionResetError):
        near.recv(1)


def test_new_connections_pass_while_old_ones_are_half_open(
    relay: Relay, listener: socket.socket, pair: tuple[socket.socket, socket.socket]
) -> None:
    relay.half_open()
    with socket.create_connection(relay.address, WAIT_S) as near:
        far, _ = listener.accept()
        with far:
            near.sendall(b"request")
            assert read(far, 7) == b"request"
            far.sendall(b"answer")
            assert read(near, 6) == b"answer"


def test_one_fault_replaces_the_other(relay: Relay, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    relay.hold()
    near.sendall(b"kept")
    relay.delay(1)
    assert read(far, 4) == b"kept"
    relay.cut()
    relay.cut()
    relay.heal()
    relay.heal()


def test_a_unix_socket_can_be_the_upstream(tmp_path: Path) -> None:
    path = tmp_path / "upstream"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Relay(path) as relay, connect(relay) as near, listener.accept()[0] as far:
            near.sendall(b"request")
            assert read(far, 7) == b"request"


def test_a_relay_that_was_killed_says_so(relay: Relay, listener: socket.socket) -> None:
    os.kill(relay.pid, signal.SIGKILL)
    with pytest.raises(RigError, match=f"the relay to 127.0.0.1:{listener.getsockname()[1]} does not answer"):
        relay.hold()


def test_the_relay_ends_when_the_rig_is_killed() -> None:
    program = "import time; from rig.target.relay import Relay\nwith Relay(('127.0.0.1', 1)) as relay:\n"
    program += "    relay.hold(); print(relay.pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as rig:
        pid = int(read_first_line(rig, 30) or b"0")
        assert alive(pid)
        rig.kill()
    assert wait_until(lambda: not alive(pid), None, WAIT_S)


def test_a_commit_whose_answer_is_lost_on_the_way_is_done_all_the_same(database: Database) -> None:
    owner = psycopg.conninfo.conninfo_to_dict(database.admin_dsn)
    with (
        psycopg.connect(database.admin_dsn, autocommit=True) as direct,
        Relay((str(owner["host"]), int(owner["port"] or 0))) as relay,
    ):
        direct.execute("CREATE TABLE events (id int)")
        through = psycopg.connect(database.admin_dsn, host=relay.address[0], port=relay.address[1])
        through.execute("INSERT INTO events VALUES (1)")
        relay.mute()
        through.pgconn.send_query(b"COMMIT")
        assert wait_until(lambda: direct.execute("TABLE events").fetchall() == [(1,)], None, WAIT_S)
        relay.cut()
        with pytest.raises(psycopg.OperationalError):
            through.execute("SELECT 1")
