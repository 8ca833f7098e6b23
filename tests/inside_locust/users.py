"""How the rig joins a locust process: its options, its user classes, its exit codes. ``tests/locust/test_inside.py``
runs this."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from locust.env import Environment
from locust.util.load_locustfile import is_user_class

from rig.errors import ExitCode, UsageError
from rig.locust_bridge import master, master_options
from rig.locust_bridge.master_coordinator import CoordinatorError
from rig.locust_bridge.master_options import SharedScenario, options_of, started_as
from rig.locust_bridge.master_users import classes_of
from scenarios.mix import MIX, PERF_GATE
from scenarios.s8 import LIMIT_S, REQUESTS, perf_gate

S8 = SharedScenario(PERF_GATE, perf_gate, REQUESTS, LIMIT_S)


def the_options(**changes: Any) -> Any:
    defaults: dict[str, Any] = {}

    class Parser:
        def set_defaults(self, **given: Any) -> None:
            defaults.update(given)

        def add_argument(self, name: str, *, default: Any, **_: Any) -> None:
            defaults[name.removeprefix("--").replace("-", "_")] = default

    master_options.add_options(Parser(), S8)
    return Environment(parsed_options=Namespace(**{"user_classes": [], **defaults, **changes}))


@pytest.mark.parametrize("rate", [-1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="--rig-rate-per-user"):
        options_of(the_options(rig_rate_per_user=rate), S8)


def test_a_rate_is_taken_as_it_is() -> None:
    assert options_of(the_options(rig_rate_per_user=2.5), S8).test["rate_per_user_s"] == 2.5


def test_locust_can_send_every_option_to_its_workers() -> None:
    options = the_options().parsed_options
    assert msgpack.unpackb(msgpack.packb(vars(options))) == vars(options)
    assert options_of(the_options(rig_out="elsewhere"), S8).settings.out == Path("elsewhere").absolute()


@pytest.mark.parametrize(
    ("words", "alone"),
    [
        ((), True),
        (("--headless", "-u", "5"), True),
        (("--master-bind-port", "7000"), True),
        (("--master",), False),
        (("--worker",), False),
        (("--processes", "2"), False),
    ],
)
def test_locust_without_a_mode_is_a_master_with_a_worker_of_its_own(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], alone: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["locust", *words])
    assert (not started_as()) is alone
    options = the_options().parsed_options
    assert options.rig_own_worker is alone
    assert getattr(options, "master", False) is alone


def test_a_mode_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["locust"])
    monkeypatch.setenv("LOCUST_MODE_MASTER", "true")
    assert started_as()


def test_a_shared_scenario_takes_part_when_it_is_named_or_given_a_count() -> None:
    assert options_of(the_options(), S8).fixed is None
    named, counted = options_of(the_options(user_classes=[PERF_GATE]), S8), options_of(the_options(rig_s8=300), S8)
    assert named.fixed is not None
    assert counted.fixed is not None
    assert (named.fixed.count, counted.fixed.count) == (REQUESTS, 300)
    assert named.fixed.limit_s == LIMIT_S


def test_locust_sees_a_class_with_its_weight_for_each_of_the_mix() -> None:
    classes = classes_of(MIX, PERF_GATE)
    assert {name: each.weight for name, each in classes.items()} == {
        **{each.name: each.weight for each in MIX},
        PERF_GATE: 1,
    }
    assert all(is_user_class(each) for each in classes.values())
    assert [each.__name__ for each in classes.values()] == list(classes)


def join(monkeypatch: pytest.MonkeyPatch, environment: Environment) -> int:
    """Have the rig join a locust process whose coordinator refuses; the exit code."""

    def refuse(*_: object) -> None:
        raise CoordinatorError("no", ExitCode.CONFIG)

    monkeypatch.setattr(master, "Bridge", refuse)
    listeners: list[Any] = []
    ignored = SimpleNamespace(add_listener=lambda _: None)
    events = SimpleNamespace(init=SimpleNamespace(add_listener=listeners.append), init_command_line_parser=ignored)
    master.install(events, MIX, S8)
    with pytest.raises(SystemExit) as end:
        listeners[0](environment=environment)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_wrong_option_ends_in_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join(monkeypatch, the_options(rig_rate_per_user=-1.0)) == ExitCode.USAGE


def test_statistics_are_not_reset_in_mid_test(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = the_options()
    environment.reset_stats = True
    assert join(monkeypatch, environment) == ExitCode.CONFIG
    assert not environment.reset_stats
