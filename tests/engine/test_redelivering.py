"""A sender that tries again, against a server that does to each request what a script says."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rig.engine.redelivering import RedeliverySchedule, retry_after_s
from rig.errors import ErrorKind
from rig.model import Redelivery
from rig.profile import Profile
from rig.target.endpoint import Endpoint
from tests.engine.driving import Driven, on_uvloop, run_scenario
from tests.engine.peer import Peer, Say, Then, peer, refused_port
from tests.engine.scenes import scenario

pytestmark = pytest.mark.usefixtures("never_idle")
SOON = Redelivery((0.01, 0.02), jitter=0.5)
LOOPS = pytest.mark.parametrize("rate_per_s", [None, 500.0], ids=["closed", "open"])
ANSWERED = (200, ErrorKind.NONE)
MS = 1_000_000


def status(code: int, *headers: str) -> Say:
    fields = "".join(f"{header}\r\n" for header in headers)
    return Say(f"HTTP/1.1 {code} Told\r\n{fields}Content-Length: 0\r\n\r\n".encode())


def attempts(driven: Driven, seq: int = 0) -> list[tuple[int, ErrorKind]]:
    """How the attempts of an event ended, in their order."""
    return [(int(row["status"]), ErrorKind(row["error_kind"])) for row in rows_of(driven, seq)]


def rows_of(driven: Driven, seq: int = 0) -> NDArray[np.void]:
    return driven.rows[driven.rows["seq"] == seq]


async def met(
    profile: Profile, folder: Path, script: list[Say], *, rate_per_s: float | None = None, plan: Redelivery = SOON,
    count: int = 1, connections: int = 1, timeout_s: float = 0.2, deadline_s: float = 10.0,
) -> tuple[Driven, Peer]:  # fmt: skip
    scene = scenario(
        count,
        connections=connections,
        rate_per_s=rate_per_s,
        timeout_s=timeout_s,
        deadline_s=deadline_s,
        redelivery=plan,
    )
    async with peer(script) as server:
        return await run_scenario(profile, scene, Endpoint("127.0.0.1", server.port), folder / "rows"), server


@LOOPS
@pytest.mark.parametrize(
    ("first", "end"),
    [
        (status(500), (500, ErrorKind.NONE)),
        (status(503), (503, ErrorKind.NONE)),
        (status(429), (429, ErrorKind.NONE)),
        (status(408), (408, ErrorKind.NONE)),
        (Say(b"", Then.CLOSE), (0, ErrorKind.CONNECTION_LOST)),
        (Say(b"", Then.RESET), (0, ErrorKind.CONNECTION_LOST)),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Then.CLOSE), (0, ErrorKind.CONNECTION_LOST)),
        (Say(b"", Then.HANG), (0, ErrorKind.TIMEOUT)),
        (Say(b"what?\r\n\r\n", Then.HANG), (0, ErrorKind.PROTOCOL)),
    ],
)  # fmt: skip
def test_an_event_is_tried_again_until_it_is_acknowledged(
    profile: Profile, tmp_path: Path, first: Say, end: tuple[int, ErrorKind], rate_per_s: float | None
) -> None:
    driven, server = on_uvloop(met(profile, tmp_path, [first, first], rate_per_s=rate_per_s))
    assert attempts(driven) == [end, end, ANSWERED]
    assert driven.report.repeats == 2
    keys = {request.headers[profile.headers.idempotency_key] for request in server.requests}
    bodies = {request.body for request in server.requests}
    assert (len(server.requests), len(keys), len(bodies)) == (3, 1, 1)


@LOOPS
def test_the_schedule_has_an_end(profile: Profile, tmp_path: Path, rate_per_s: float | None) -> None:
    driven, _ = on_uvloop(met(profile, tmp_path, [status(500)] * 9, rate_per_s=rate_per_s))
    assert attempts(driven) == [(500, ErrorKind.NONE)] * 3


@LOOPS
@pytest.mark.parametrize("code", [400, 401, 404, 302])
def test_what_is_refused_for_good_is_not_tried_again(
    profile: Profile, tmp_path: Path, rate_per_s: float | None, code: int
) -> None:
    driven, _ = on_uvloop(met(profile, tmp_path, [status(code)], rate_per_s=rate_per_s))
    assert attempts(driven) == [(code, ErrorKind.NONE)]


@LOOPS
def test_an_event_whose_target_is_away_is_tried_again(
    profile: Profile, tmp_path: Path, rate_per_s: float | None
) -> None:
    scene = scenario(3, connections=2, rate_per_s=rate_per_s, redelivery=SOON)
    endpoint = Endpoint("127.0.0.1", refused_port())
    driven = on_uvloop(run_scenario(profile, scene, endpoint, tmp_path / "rows"))
    for seq in range(3):
        assert attempts(driven, seq) == [(0, ErrorKind.CONNECT)] * 3


@LOOPS
@pytest.mark.parametrize(("failed", "least_ms"), [(0, 10), (1, 20)])
def test_delays_are_those_of_the_schedule(
    profile: Profile, tmp_path: Path, rate_per_s: float | None, failed: int, least_ms: int
) -> None:
    driven, _ = on_uvloop(met(profile, tmp_path, [status(500)] * 2, rate_per_s=rate_per_s))
    rows = rows_of(driven)
    # An attempt is due when the delay is over. It is sent a turn of the event loop later.
    waited_ns = rows["intended_ns"][failed + 1] - rows["done_ns"][failed]
    assert 0.9 * least_ms * MS < waited_ns < (1.5 * least_ms + 5) * MS
    assert rows["sent_ns"][failed + 1] >= rows["intended_ns"][failed + 1]


@LOOPS
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(profile: Profile, tmp_path: Path, rate_per_s: float | None, code: int) -> None:
    script = [status(code, "Retry-After: 1")]
    driven, _ = on_uvloop(met(profile, tmp_path, script, rate_per_s=rate_per_s))
    rows = rows_of(driven)
    assert attempts(driven) == [(code, ErrorKind.NONE), ANSWERED]
    assert rows["sent_ns"][1] - rows["done_ns"][0] > 990 * MS


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b" 0 ", 0.0),
        (format_datetime(datetime.fromtimestamp(NOW + 7, UTC), usegmt=True).encode(), 7.0),
        (format_datetime(datetime.fromtimestamp(NOW - 7, UTC), usegmt=True).encode(), 0.0),
        (datetime.fromtimestamp(NOW + 9, UTC).strftime("%a %b %d %H:%M:%S %Y").encode(), 9.0),
        (b"9" * 500, 999_999_999.0),
        (b"-5", 0.0),
        (b"1.5", 0.0),
        (b"1e9", 0.0),
        (b"\xb2", 0.0),
        (b"\xff soon", 0.0),
        (b"", 0.0),
        (b"Fri, 32 Foo 99999 25:61:61 +999999", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_of_seconds_or_a_date(value: bytes, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds


@LOOPS
def test_some_acknowledged_events_are_sent_once_more(
    profile: Profile, tmp_path: Path, rate_per_s: float | None
) -> None:
    plan = Redelivery((0.01,), late_share=0.5, late_s=0.1)
    driven, _ = on_uvloop(met(profile, tmp_path, [], rate_per_s=rate_per_s, plan=plan, count=100, connections=5))
    sent = [len(rows_of(driven, seq)) for seq in range(100)]
    assert set(sent) == {1, 2}
    assert 30 < sent.count(2) < 70
    # They come out of order.
    again = np.concatenate([rows_of(driven, seq)[1:] for seq in range(100)])
    assert sorted(again["seq"]) != again[np.argsort(again["sent_ns"])]["seq"].tolist()


def test_the_deadline_skips_what_waits_for_its_time(profile: Profile, tmp_path: Path) -> None:
    plan = Redelivery((60.0,))
    driven, _ = on_uvloop(met(profile, tmp_path, [status(500)], plan=plan, deadline_s=0.1))
    assert attempts(driven) == [(500, ErrorKind.NONE), (0, ErrorKind.SKIPPED)]


@LOOPS
def test_connections_that_were_lost_at_the_end_are_opened_again(
    profile: Profile, tmp_path: Path, rate_per_s: float | None
) -> None:
    script = [Say(b"", Then.RESET)] * 12
    driven, _ = on_uvloop(met(profile, tmp_path, script, rate_per_s=rate_per_s, count=8, connections=3))
    for seq in range(8):
        assert attempts(driven, seq)[-1] == ANSWERED
    assert driven.report.repeats == 12


def test_every_draw_follows_from_the_seed() -> None:
    plan = Redelivery((1.0, 2.0), jitter=0.5, late_share=0.5)

    def draws(seed: int) -> list[float | None]:
        schedule = RedeliverySchedule(plan, scenario(), seed)
        failures = [schedule.wait_after_failure(seq) for seq in range(20) for _ in range(3)]
        return failures + [schedule.wait_after_acknowledgement(seq) for seq in range(20)]

    assert draws(1) == draws(1) != draws(2)
    first, second, third = draws(1)[:60:3], draws(1)[1:60:3], draws(1)[2:60:3]
    assert all(wait is not None and 1 <= wait <= 1.5 for wait in first)
    assert all(wait is not None and 2 <= wait <= 3 for wait in second)
    assert set(third) == {None}
    assert len(set(first)) == 20
