"""The cases of the storm of unknown key ids, as values.

Each fixes its start state (how old the cached set is against the floor) and the length of the storm against the floor,
so that the number of fetches that were needed is known. The times follow from the knobs: a case can be built for a
fleet whose floor is not the rig's to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from rig.evidence.key_storm import KeyCase, Lane, LeaderFault, OriginChange, Start, Token
from rig.evidence.verifier_settings import VerifierSettings

Build = Callable[[VerifierSettings | None], KeyCase]

_FETCH_S = 0.2
"""The usual origin answers after so long."""
_VALID_PACE_S = 0.01
_FEW_PACE_S = 0.02

_COUNTED = ("single-flight", "floor", "amplification", "false-accepts", "ledger")


def random_kids(told: VerifierSettings | None = None) -> KeyCase:
    """The storm that the rest are variations of."""
    return KeyCase(
        name="random-kids",
        story="every process is handed tokens of random unknown keys as fast as it takes them, beside valid ones",
        lanes=(Lane(Token.UNKNOWN, count=None), Lane(Token.KNOWN, pace_s=_VALID_PACE_S, beside=True)),
        gates=(*_COUNTED, "known-kids", "follower-wait", "connections"),
        origin=(OriginChange(0, delay_s=_FETCH_S),),
        verifier_settings=told or VerifierSettings(),
    )


def cold_start(told: VerifierSettings | None = None) -> KeyCase:
    """No key set was ever fetched."""
    return KeyCase(
        name="cold-start",
        story="the fleet starts with nothing cached; all processes want a key at the same instant",
        lanes=(Lane(Token.KNOWN, count=20, pace_s=_VALID_PACE_S), Lane(Token.UNKNOWN, count=20)),
        # How long the first wait is, is the fetch's; that all are served is the gate.
        gates=(*_COUNTED, "known-kids", "connections"),
        start=Start.COLD,
        origin=(OriginChange(0, delay_s=_FETCH_S),),
        verifier_settings=told or VerifierSettings(),
    )


def rotation_outside(told: VerifierSettings | None = None) -> KeyCase:
    """A new key, when a fetch is allowed."""
    return KeyCase(
        name="rotation-outside",
        story="a new key signs tokens, and the last fetch is longer ago than the floor: it is found at once",
        lanes=(
            # Well past the fetch and its room: a fleet that waits for another floor is still refusing then.
            Lane(Token.ROTATED, pace_s=_VALID_PACE_S, until_s=1.5),
            Lane(Token.UNKNOWN, count=50),
            Lane(Token.KNOWN, pace_s=_VALID_PACE_S, beside=True),
        ),
        gates=(*_COUNTED, "known-kids", "rotation"),
        origin=(OriginChange(0, delay_s=_FETCH_S, rotated=True),),
        verifier_settings=told or VerifierSettings(),
    )


def rotation_inside(told: VerifierSettings | None = None) -> KeyCase:
    """A new key, right after a fetch."""
    verifier_settings = told or VerifierSettings(floor_s=1.5)
    rotated_s = _FETCH_S + 0.2
    end_s = _FETCH_S + verifier_settings.floor_s + 1.0
    return KeyCase(
        name="rotation-inside",
        story="a new key signs tokens just after a fetch: refused until the floor is over, and not a fetch longer",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
            Lane(Token.ROTATED, pace_s=_FEW_PACE_S, from_s=rotated_s + 0.1, until_s=end_s),
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
        ),
        gates=(*_COUNTED, "known-kids", "rotation"),
        origin=(OriginChange(0, delay_s=_FETCH_S), OriginChange(rotated_s, rotated=True)),
        verifier_settings=verifier_settings,
        necessary=2,
    )


def slow_patience(told: VerifierSettings | None = None) -> KeyCase:
    """The origin takes longer than a follower waits."""
    verifier_settings = told or VerifierSettings(patience_s=0.3)
    delay_s = verifier_settings.patience_s + 0.9
    return KeyCase(
        name="slow-patience",
        story="the origin answers later than those who wait for another's fetch will wait",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=delay_s + 0.5),
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=delay_s + 0.5),
        ),
        gates=(*_COUNTED, "known-kids", "follower-wait"),
        origin=(OriginChange(0, delay_s=delay_s),),
        verifier_settings=verifier_settings,
    )


def slow_floor(told: VerifierSettings | None = None) -> KeyCase:
    """The origin takes longer than the floor."""
    verifier_settings = told or VerifierSettings(floor_s=0.4)
    delay_s = 2 * verifier_settings.floor_s
    end_s = 3 * (delay_s + verifier_settings.floor_s) + 0.3
    return KeyCase(
        name="slow-floor",
        story="the origin takes longer than the floor: a floor that counted from the start would let fetches overlap",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
        ),
        gates=(*_COUNTED, "known-kids"),
        origin=(OriginChange(0, delay_s=delay_s),),
        verifier_settings=verifier_settings,
        necessary=None,
    )


def _outage(verifier_settings: VerifierSettings) -> float:
    """Long enough for eight failures, seconds: the first is at once, and the cap is reached.

    Of fewer waits at the cap, also random ones are alike now and then, and jitter would be missed by chance.
    """
    return sum(verifier_settings.backoff_s(failures) for failures in range(1, 9)) * (1 + verifier_settings.jitter) + 0.3


def failing_cached(told: VerifierSettings | None = None) -> KeyCase:
    """The origin fails, the fleet has keys."""
    verifier_settings = told or VerifierSettings(floor_s=0.1)
    back_s = _outage(verifier_settings)
    end_s = back_s + verifier_settings.backoff_cap_s * (1 + verifier_settings.jitter) + 0.8
    return KeyCase(
        name="failing-cached",
        story="the origin fails while unknown keys come in: fetches back off, known keys are served throughout",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
        ),
        gates=("single-flight", "floor", "false-accepts", "ledger", "known-kids", "backoff", "jitter", "recovery"),
        origin=(OriginChange(0, mode="fail", delay_s=0.05), OriginChange(back_s, mode="ok")),
        verifier_settings=verifier_settings,
        necessary=None,
    )


def failing_cold(told: VerifierSettings | None = None) -> KeyCase:
    """The origin fails, and nothing was ever cached."""
    verifier_settings = told or VerifierSettings(floor_s=0.1)
    back_s = _outage(verifier_settings)
    end_s = back_s + verifier_settings.backoff_cap_s * (1 + verifier_settings.jitter) + 0.8
    return KeyCase(
        name="failing-cold",
        story="the origin fails from the start: without a cached set, too, the whole fleet backs off together",
        lanes=(
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
        ),
        gates=("single-flight", "floor", "false-accepts", "ledger", "backoff", "jitter", "recovery"),
        start=Start.COLD,
        origin=(OriginChange(0, mode="fail", delay_s=0.05), OriginChange(back_s, mode="ok")),
        verifier_settings=verifier_settings,
        necessary=None,
    )


def leader_killed(told: VerifierSettings | None = None) -> KeyCase:
    """The process that fetches dies."""
    verifier_settings = told or VerifierSettings(patience_s=2.5)
    return KeyCase(
        name="leader-killed",
        story="the process that fetches is killed in the middle of it: another takes over at once",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=2.0),
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=2.0),
        ),
        gates=("single-flight", "false-accepts", "ledger", "known-kids", "takeover"),
        origin=(OriginChange(0, delay_s=0.8),),
        verifier_settings=verifier_settings,
        necessary=2,
        leader_fault=LeaderFault.KILL,
    )


def leader_stopped(told: VerifierSettings | None = None) -> KeyCase:
    """The process that fetches stands still."""
    verifier_settings = told or VerifierSettings(floor_s=0.5, patience_s=0.5, fetch_timeout_s=1.2, leader_timeout_s=1.5)
    end_s = verifier_settings.leader_timeout_s + 2.0
    return KeyCase(
        name="leader-stopped",
        story="the process that fetches is stopped in the middle of it: it is overtaken after its session's timeout",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
            Lane(Token.KNOWN, pace_s=_FEW_PACE_S, until_s=end_s),
        ),
        gates=("single-flight", "floor", "false-accepts", "ledger", "known-kids", "takeover"),
        origin=(OriginChange(0, delay_s=0.6),),
        verifier_settings=verifier_settings,
        necessary=None,
        leader_fault=LeaderFault.STOP,
    )


def ttl_expiry(told: VerifierSettings | None = None) -> KeyCase:
    """The whole fleet's keys are due at once."""
    verifier_settings = told or VerifierSettings(floor_s=0.3, ttl_s=1.0)
    end_s = 3 * verifier_settings.ttl_s
    return KeyCase(
        name="ttl-expiry",
        story="the keys of the whole fleet are due at the same instant: one refreshes, the others serve what they have",
        lanes=(Lane(Token.KNOWN, pace_s=_VALID_PACE_S, until_s=end_s),),
        gates=("single-flight", "floor", "amplification", "ledger", "known-kids"),
        start=Start.EXPIRED,
        origin=(OriginChange(0, delay_s=_FETCH_S),),
        verifier_settings=verifier_settings,
        # Full jitter would let it refresh at any time; the floor and a fetch always lie between two.
        necessary=1
        + ceil(
            end_s / max(verifier_settings.ttl_s * (1 - verifier_settings.jitter), verifier_settings.floor_s + _FETCH_S)
        ),
    )


def flood(told: VerifierSettings | None = None) -> KeyCase:
    """A sustained flood."""
    verifier_settings = told or VerifierSettings(floor_s=0.8)
    end_s = 3 * (verifier_settings.floor_s + _FETCH_S) + 0.2
    return KeyCase(
        name="flood",
        story="unknown keys keep coming over many floors, one fetch a floor, no valid user notices",
        lanes=(
            Lane(Token.UNKNOWN, pace_s=0.005, until_s=end_s),
            Lane(Token.KNOWN, pace_s=_VALID_PACE_S, until_s=end_s),
        ),
        gates=(*_COUNTED, "known-kids", "connections"),
        origin=(OriginChange(0, delay_s=_FETCH_S),),
        verifier_settings=verifier_settings,
        necessary=None,
    )


def pooler(told: VerifierSettings | None = None) -> KeyCase:
    """Through pgbouncer in transaction mode."""
    return KeyCase(
        name="pooler",
        story="random unknown keys, with a pooler in transaction mode between fleet and database: still one leader",
        # A lock that was left behind in the pooler makes every call wait: that need not be looked at for a minute.
        lanes=(
            Lane(Token.UNKNOWN, count=50, until_s=20.0),
            Lane(Token.KNOWN, pace_s=_VALID_PACE_S, until_s=20.0, beside=True),
        ),
        gates=(*_COUNTED, "known-kids", "connections"),
        origin=(OriginChange(0, delay_s=_FETCH_S),),
        verifier_settings=told or VerifierSettings(),
        pooled=True,
    )


CASES: Mapping[str, Build] = {
    "random-kids": random_kids,
    "cold-start": cold_start,
    "rotation-outside": rotation_outside,
    "rotation-inside": rotation_inside,
    "slow-patience": slow_patience,
    "slow-floor": slow_floor,
    "failing-cached": failing_cached,
    "failing-cold": failing_cold,
    "leader-killed": leader_killed,
    "leader-stopped": leader_stopped,
    "ttl-expiry": ttl_expiry,
    "flood": flood,
    "pooler": pooler,
}
