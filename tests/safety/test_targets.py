"""Load goes where profile and command line say, and nowhere else: whatever a name means, now or a moment later."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rig.cli import main
from rig.engine.connection import Connection
from rig.engine.dialer import Dialer
from rig.errors import ConfigError, ExitCode, UsageError
from rig.limits import REQUESTS_CEILING
from rig.locust_bridge.coordinator import Coordinator
from rig.locust_bridge.plan import LocustPlan
from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile, Target, bundled_profile, load_profile
from rig.run.job import Job
from rig.settings import Settings
from rig.storms.unknown_kid.subjects import Failed, http_fleet
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from tests.serving import say, serving

ELSEWHERE = "192.0.2.7"
"""An address of nobody (RFC 5737)."""


class Resolver:
    """A name service that answers as a test likes, one answer after the other; the last one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...]) -> None:
        self.asked = 0
        self._answers = answers
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if not str(host).endswith(".test"):
            return self._real(host, port, *more, **named)
        addresses = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]


@contextmanager
def server(location: str = "") -> Iterator[tuple[int, list[str]]]:
    """An HTTP server that redirects to ``location``, or says 200; its port and the paths that were asked."""
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        say(handler, 302 if location else 200, **({"Location": location} if location else {}))

    with serving(answer) as port:
        yield port, asked


# --- who may be loaded --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "::1", "0:0:0:0:0:0:0:1", "localhost"])
def test_every_way_to_write_loopback_is_pinned_to_it(host: str) -> None:
    pinned = Endpoint(host, 80).check_and_pin(None)
    assert pinned.addresses
    assert set(pinned.addresses) <= {"127.0.0.1", "::1"}
    assert pinned.host == host


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0", "::", "192.0.2.7", "10.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "2001:db8::1",
        "::ffff:192.0.2.7", "64:ff9b::192.0.2.7", "fe80::1", "fe80::1%lo", "3221225991", "0xc0.0.2.7",
    ],
)  # fmt: skip
def test_no_way_to_write_another_machine_passes(host: str) -> None:
    with pytest.raises(ConfigError, match=r"not loopback|cannot be resolved"):
        Endpoint(host, 80).check_and_pin(None)


@pytest.mark.parametrize("addresses", [(ELSEWHERE,), ("127.0.0.1", ELSEWHERE), ("::1", "2001:db8::1")])
def test_a_name_is_what_all_of_its_addresses_are(monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]) -> None:
    """Like 127.0.0.1.nip.io that points elsewhere: what the name looks like counts for nothing."""
    Resolver(monkeypatch, addresses)
    with pytest.raises(ConfigError, match="not loopback"):
        Endpoint("127.0.0.1.nip.test", 80).check_and_pin(None)


@pytest.mark.parametrize(
    ("routes", "pinned"),
    [
        ({"127.0.0.1", "::1"}, ("127.0.0.1", "::1")),
        ({"127.0.0.1"}, ("127.0.0.1",)),  # a machine without IPv6
        (set(), ("127.0.0.1", "::1")),
    ],
)
def test_a_name_of_loopback_passes_and_is_pinned(
    monkeypatch: pytest.MonkeyPatch, routes: set[str], pinned: tuple[str, ...]
) -> None:
    Resolver(monkeypatch, ("127.0.0.1", "::1"))
    monkeypatch.setattr("rig.target.endpoint._has_route", routes.__contains__)
    assert Endpoint("127.0.0.1.nip.test", 80).check_and_pin(None).addresses == pinned


@pytest.mark.parametrize("host", ["a" * 300 + ".test", "\udcff.invalid", "a..b", "xn--\u00e9"])
def test_a_name_that_is_none_is_an_error_in_words(host: str) -> None:
    with pytest.raises(ConfigError):
        Endpoint(host, 80).check_and_pin(None)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@192.0.2.7/", "http://127.0.0.1:80@192.0.2.7", "http://192.0.2.7#@127.0.0.1",
        "http://192.0.2.7?@127.0.0.1", "http://192.0.2.7\\@127.0.0.1", "http://127.0.0.1\t.evil.test", "//127.0.0.1",
        "http:127.0.0.1", "http:///127.0.0.1", "http://[127.0.0.1", "http://127.0.0.1:99999", "http://127.0.0.1:0",
        "file:///etc/passwd", "gopher://127.0.0.1", "http://127.0.0.1 .evil.test", "http://127.0.0.1\r\nHost: x",
        "http://\u2460\u2461.test",
    ],
)  # fmt: skip
def test_a_url_that_reads_two_ways_is_refused(url: str) -> None:
    """By the profile, before anybody takes it apart; and where one passes, for another machine, by the allow-list."""
    with pytest.raises(ValidationError):
        Target(base_url=url)
    with pytest.raises(ConfigError):
        Endpoint.parse(url).check_and_pin(None)


def test_another_host_takes_the_profile_and_the_command_line() -> None:
    profile = _profile(base_url=f"http://{ELSEWHERE}", allow_host=ELSEWHERE)
    for said, allowed in ((None, None), ("192.0.2.8", None), (ELSEWHERE, ELSEWHERE)):
        assert Settings(allow_host=said).allowed_host(profile.target.allow_host) == allowed
    assert Settings(allow_host=ELSEWHERE).allowed_host(None) is None


def test_a_master_cannot_send_a_worker_elsewhere() -> None:
    """Whatever addresses stand in the plan that it hands out: the worker finds them itself."""
    profile = load_profile(bundled_profile())
    run = RunKey(1, "r", 1)
    plan = LocustPlan("2.47.0", run, profile, "http://127.0.0.1:9", "stripe", "A", {}, addresses=(ELSEWHERE,))
    assert LocustPlan.from_wire(plan.to_wire()).pin(None).endpoint.addresses == ("127.0.0.1",)
    with pytest.raises(ConfigError, match="not loopback"):
        replace(plan, url=f"http://{ELSEWHERE}", addresses=("127.0.0.1",)).pin(None)


# --- what was checked is what is connected to ---------------------------------------------------------------------


def test_a_name_that_changes_its_mind_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked as loopback, another machine from then on: nobody asks a second time."""
    with server() as (port, asked):
        resolver = Resolver(monkeypatch, ("127.0.0.1",), (ELSEWHERE,))
        pinned = Endpoint("rebinding.test", port).check_and_pin(None)
        assert HttpProbe(pinned, 5.0).get("/asked").status == 200
        assert HttpProbe(pinned, 5.0).connect().status == 200
        assert asyncio.run(_dialled(pinned))
        assert resolver.asked == 1
        assert asked == ["/asked"]


def test_the_fleet_of_a_storm_is_pinned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as (port, asked):
        resolver = Resolver(monkeypatch, (ELSEWHERE,))
        environ = {
            "RIG_STORM_URLS": f"http://rebinding.test:{port}",
            "RIG_STORM_ADDRESSES": '[["127.0.0.1"]]',
            "RIG_STORM_PATH": "/whoami",
            "RIG_STORM_HEADER": "Authorization",
            "RIG_STORM_SCHEME": "Bearer",
            "RIG_STORM_ACCEPTED": "200",
            "RIG_STORM_REJECTED": "401",
            "RIG_STORM_TIMEOUT_S": "5",
        }
        assert http_fleet(environ)("token") == 200
        assert (resolver.asked, asked) == (0, ["/whoami"])


def test_the_next_address_is_tried_where_the_first_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As "localhost" is ::1 first, where a service listens on 127.0.0.1 alone."""
    with server() as (port, _):
        Resolver(monkeypatch, ("127.9.9.9", "127.0.0.1"))
        pinned = Endpoint("two.test", port).check_and_pin(None)
        assert HttpProbe(pinned, 5.0).get("/").status == 200
        assert asyncio.run(_dialled(pinned))


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as (port, asked), server() as (proxy, by_proxy):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert HttpProbe(Endpoint("127.0.0.1", port), 5.0).get("/").status == 200
        assert (asked, by_proxy) == (["/"], [])


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with server() as (elsewhere, reached), server(f"http://127.0.0.1:{elsewhere}/") as (port, asked):
        assert HttpProbe(Endpoint("127.0.0.1", port), 5.0).get("/").status == 302
        fleet = http_fleet(
            {
                "RIG_STORM_URLS": f"http://127.0.0.1:{port}",
                "RIG_STORM_PATH": "/whoami",
                "RIG_STORM_HEADER": "Authorization",
                "RIG_STORM_SCHEME": "",
                "RIG_STORM_ACCEPTED": "200",
                "RIG_STORM_REJECTED": "401",
                "RIG_STORM_TIMEOUT_S": "5",
            }
        )
        with pytest.raises(Failed):
            fleet("token")
        assert (asked, reached) == (["/", "/whoami"], [])


async def _dialled(endpoint: Endpoint) -> bool:
    """Whether the engine's own dialer gets a connection."""
    dialer = Dialer(endpoint, 5.0)
    connection = Connection(0, _Nobody())
    try:
        return await dialer.dial(connection)
    finally:
        await dialer.hang_up([connection])


class _Nobody:
    def end_request(self, *_: object) -> None:
        pass

    lose_idle = end_request


# --- how much, and how fast ---------------------------------------------------------------------------------------


def _profile(**target: Any) -> Profile:
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True, by_alias=True)
    if "base_url" in target:
        del document["launch"]
    return Profile.model_validate(document | {"target": target})


def _job(profile: Profile, *, count: int, rate_per_s: float | None = None, **settings: Any) -> Job:
    pace = Pace(1, rate_per_s)
    scenarios = [
        Scenario(f"S{number}", "t", 1, "stripe", ("A",), (Share(RequestClass.VALID, part),), pace)
        for number, part in enumerate((count // 2, count - count // 2))
    ]
    return Job("run", ("rig",), Settings(**settings), profile, Path(), tuple(scenarios))


@pytest.mark.parametrize(
    ("of_profile", "of_flag", "count", "whose"),
    [
        (None, None, REQUESTS_CEILING + 1, "--max-requests"),
        (None, 100, 101, "--max-requests"),
        (100, None, 101, "target.max_requests"),
        (100, 1000, 101, "target.max_requests"),
        (1000, 100, 101, "--max-requests"),
        (10**12, None, REQUESTS_CEILING + 1, "--max-requests"),
    ],
)
def test_the_lower_ceiling_on_requests_holds(
    of_profile: int | None, of_flag: int | None, count: int, whose: str
) -> None:
    """All drives of a run together, before anything is sent."""
    profile = _profile(**({} if of_profile is None else {"max_requests": of_profile}))
    settings = {} if of_flag is None else {"max_requests": of_flag}
    assert _job(profile, count=count - 1, **settings)
    with pytest.raises(UsageError, match=whose):
        _job(profile, count=count, **settings)


@pytest.mark.parametrize(
    ("of_profile", "of_flag", "rate_per_s", "whose"),
    [
        (None, None, 50_001.0, "--max-rate"),
        (None, 10.0, 11.0, "--max-rate"),
        (10.0, None, 11.0, "target.max_rate_per_s"),
        (10.0, 5.0, 6.0, "--max-rate"),
        (None, None, float("nan"), "--max-rate"),
    ],
)
def test_the_lower_ceiling_on_the_rate_holds(
    of_profile: float | None, of_flag: float | None, rate_per_s: float, whose: str
) -> None:
    profile = _profile(**({} if of_profile is None else {"max_rate_per_s": of_profile}))
    settings = {} if of_flag is None else {"max_rate_per_s": of_flag}
    assert _job(profile, count=2, rate_per_s=1.0, **settings)
    with pytest.raises(UsageError, match=whose):
        _job(profile, count=2, rate_per_s=rate_per_s, **settings)


def test_a_crowd_whose_users_are_due_too_often_does_not_begin() -> None:
    """Three users on two workers may be two and two, as far as an even share of the ceiling goes."""
    coordinator = Coordinator({})
    coordinator._job = _job(_profile(max_rate_per_s=39.0), count=2)
    with pytest.raises(UsageError, match=r"40/s.*target\.max_rate_per_s"):
        coordinator.answer({"do": "begin", "fixed": None, "rate_per_user_s": 10.0, "users": 3, "workers": 2})


def test_the_command_line_refuses_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("perf", "-n", "100", "--max-requests", "99", "--out", str(tmp_path / "results"))
    assert main(words) == ExitCode.USAGE
    assert "--max-requests" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_no_header_of_a_token_can_end_its_line() -> None:
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True, by_alias=True)
    storm = {"subject": "reference", "scheme": "Bearer\r\nX-Injected: yes"}
    with pytest.raises(ValidationError, match="value of a header"):
        Profile.model_validate(document | {"storms": {"unknown-kid": storm}})


def test_a_defect_is_seeded_only_into_what_the_rig_launches() -> None:
    assert _job(_profile(), count=2, defects=("slow",))
    with pytest.raises(UsageError, match="launches none"):
        _job(_profile(base_url="http://127.0.0.1:1"), count=2, defects=("slow",))
