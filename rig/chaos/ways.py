"""Faults of the ways between sender and service, and between service and database. A relay makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from rig.chaos.fault import ChaosTarget, Fault, Strike, Struck
from rig.target.relay import Relay

_DELAY_MS = 200.0
_BYTES_PER_S = 20_000.0

_FOR_S = (0.5, 3.0)
_HALF_OPEN_FOR_S = (1.0, 2.0)
"""Whoever holds such a connection must find out. It gets the time to do so."""
_BREAKS: tuple[tuple[str, str, Callable[[Relay], None]], ...] = (
    ("cut", "is cut: connections are reset, new ones refused", Relay.cut),
    ("held", "passes nothing and closes nothing", Relay.hold),
    ("delayed", f"takes {_DELAY_MS:g} ms longer", lambda relay: relay.delay(_DELAY_MS)),
    ("throttled", f"passes {_BYTES_PER_S:,.0f} bytes/s", lambda relay: relay.throttle(_BYTES_PER_S)),
    ("mute", "passes what is asked, and no answer", Relay.mute),
    ("half-open", "has lost its connections, and only the far end knows", Relay.half_open),
)


def _sender_way(target: ChaosTarget) -> Relay | None:
    return target.sender_way


def _database_way(target: ChaosTarget) -> Relay | None:
    return target.database_way


_WAYS: tuple[tuple[str, str, Callable[[ChaosTarget], Relay | None], str], ...] = (
    ("sender", "the way from sender to service", _sender_way, "requests do not go through the rig's relay"),
    (
        "database",
        "the way from service to database",
        _database_way,
        "the service's database is not reached through the rig's relay: that takes [launch] with {runtime_dsn} or "
        "{admin_dsn} in env",
    ),
)


def _broken(relay_of: Callable[[ChaosTarget], Relay | None], how: Callable[[Relay], None]) -> Strike:
    @contextmanager
    def strike(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
        relay = relay_of(target)
        assert relay is not None
        how(relay)
        try:
            yield Struck()
        finally:
            if how is Relay.half_open and relay is target.sender_way:
                relay.cut()  # else the sender would meet what the rig has broken long after the healing
            relay.heal()

    return strike


def _missing(relay_of: Callable[[ChaosTarget], Relay | None], why: str) -> Callable[[ChaosTarget], str]:
    return lambda target: "" if relay_of(target) is not None else why


WAY_FAULTS = tuple(
    Fault(
        f"{way}-{name}",
        f"{where} {what}",
        _missing(relay_of, why),
        _broken(relay_of, how),
        _HALF_OPEN_FOR_S if how is Relay.half_open else _FOR_S,
    )
    for way, where, relay_of, why in _WAYS
    for name, what, how in _BREAKS
)
