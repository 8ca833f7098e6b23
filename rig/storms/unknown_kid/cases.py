"""The cases of the key storm, as values.

Each fixes its start state (how old the cached set is against the cool-down) and the length of the storm against the
cool-down, so that the number of necessary fetches is known. The times follow from the verifier settings: a case can be
built for a fleet whose settings the rig cannot choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from rig.evidence.bad_tokens import FORGED
from rig.evidence.key_case import KeyCase, LeaderFault, OriginChange, Start, StoreFault, Token, TokenClient
from rig.evidence.verifier_settings import VerifierSettings

Build = Callable[[VerifierSettings | None], KeyCase]
"""Makes a case for the settings that a fleet promises; None: for the case's own."""

_FETCH_S = 0.2
"""The usual origin answers after so long."""
_COOL_DOWN_S = 1.0
"""Longer than the usual storm: one fetch is enough then. Each case waits for so long before it can begin."""
_VALID_PACE_S = 0.01
_SLOW_PACE_S = 0.02

_ANSWER_GATES = ("lives", "refusals", "false-accepts")
_COUNT_GATES = ("ledger", "own-count")
_FETCH_GATES = ("start", "single-flight", "floor", "amplification", *_ANSWER_GATES, *_COUNT_GATES)
_ANSWERS = OriginChange(0, delay_s=_FETCH_S)
_VALID_MEANWHILE = TokenClient(Token.KNOWN, pace_s=_VALID_PACE_S, background=True)


def _unknown_and_known(until_s: float) -> tuple[TokenClient, ...]:
    """Clients with unknown and with known keys, both until then."""
    return tuple(TokenClient(token, pace_s=_SLOW_PACE_S, until_s=until_s) for token in (Token.UNKNOWN, Token.KNOWN))


def _random_key_ids(promises: VerifierSettings | None) -> KeyCase:
    """The storm that the rest are variations of."""
    return KeyCase(
        name="random-kids",
        story="every process gets tokens of random unknown keys as fast as it takes them, and valid ones meanwhile",
        clients=(TokenClient(Token.UNKNOWN, count=None), _VALID_MEANWHILE),
        gates=(*_FETCH_GATES, "known-kids", "follower-wait", "connections"),
        origin=(_ANSWERS,),
        verifier_settings=promises or VerifierSettings(cool_down_s=_COOL_DOWN_S),
    )


def _forged_tokens(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="forged-tokens",
        story="every process gets forged tokens of every kind, for every key of the set, and valid ones meanwhile",
        clients=(TokenClient(Token.FORGED, until_s=20.0), _VALID_MEANWHILE),
        gates=("lives", "refusals", "known-kids", *(f"forged-{kind}" for kind in FORGED)),
        origin=(_ANSWERS,),
        verifier_settings=promises or VerifierSettings(cool_down_s=0.2),
        necessary=None,
    )


def _without_key_id(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="no-key-id",
        story="every process gets valid tokens without a key id, and usual ones meanwhile",
        clients=(TokenClient(Token.UNNAMED, count=40), _VALID_MEANWHILE),
        gates=("start", "amplification", "lives", "refusals", "known-kids", "no-key-id"),
        origin=(_ANSWERS,),
        verifier_settings=promises or VerifierSettings(cool_down_s=_COOL_DOWN_S),
        necessary=0,
    )


def _cold_start(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="cold-start",
        story="the fleet starts with nothing cached; all processes want a key at the same instant",
        clients=(TokenClient(Token.KNOWN, count=20, pace_s=_VALID_PACE_S), TokenClient(Token.UNKNOWN, count=20)),
        # The first wait is as long as the fetch; the gate asks only that all are served.
        gates=(*_FETCH_GATES, "known-kids", "connections"),
        start=Start.COLD,
        origin=(_ANSWERS,),
        verifier_settings=promises or VerifierSettings(),
    )


def _rotation_outside_cool_down(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="rotation-outside",
        story="a new key signs tokens, and the cool-down of the last fetch is over: it is found at once",
        clients=(
            # Well past the fetch and its room: a fleet that waits for another cool-down still refuses then.
            TokenClient(Token.ROTATED, pace_s=_VALID_PACE_S, until_s=1.5),
            TokenClient(Token.UNKNOWN, count=50),
            _VALID_MEANWHILE,
        ),
        gates=(*_FETCH_GATES, "known-kids", "rotation", "waits"),
        origin=(OriginChange(0, delay_s=_FETCH_S, rotated=True),),
        verifier_settings=promises or VerifierSettings(cool_down_s=_COOL_DOWN_S),
    )


def _rotation_inside_cool_down(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(cool_down_s=1.5)
    rotated_s = _FETCH_S + 0.2
    end_s = _FETCH_S + settings.cool_down_s + 1.0
    rotated = TokenClient(Token.ROTATED, pace_s=_SLOW_PACE_S, from_s=rotated_s + 0.1, until_s=end_s)
    return KeyCase(
        name="rotation-inside",
        story="a new key signs tokens just after a fetch: they are refused until the cool-down and one fetch are over",
        clients=(*_unknown_and_known(end_s), rotated),
        gates=(*_FETCH_GATES, "known-kids", "rotation"),
        origin=(_ANSWERS, OriginChange(rotated_s, rotated=True)),
        verifier_settings=settings,
        necessary=2,
    )


def _slower_than_wait_timeout(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(cool_down_s=_COOL_DOWN_S, wait_timeout_s=0.3)
    delay_s = settings.wait_timeout_s + 0.9
    return KeyCase(
        name="slow-patience",
        story="the origin answers later than processes wait for the fetch of another",
        clients=_unknown_and_known(delay_s + 0.5),
        gates=(*_FETCH_GATES, "known-kids", "follower-wait"),
        origin=(OriginChange(0, delay_s=delay_s),),
        verifier_settings=settings,
    )


def _slower_than_cool_down(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(cool_down_s=0.4)
    delay_s = 2 * settings.cool_down_s
    return KeyCase(
        name="slow-floor",
        story="a fetch takes longer than the cool-down; if that counted from a fetch's start, fetches would overlap",
        clients=_unknown_and_known(3 * (delay_s + settings.cool_down_s) + 0.3),
        gates=(*_FETCH_GATES, "known-kids"),
        origin=(OriginChange(0, delay_s=delay_s),),
        verifier_settings=settings,
        necessary=None,
    )


def _outage(name: str, story: str, start: Start, gates: tuple[str, ...], settings: VerifierSettings) -> KeyCase:
    """The origin fails, for eight failures: the first is at once, and the cap is reached.

    With fewer waits at the cap, random ones are alike now and then, and jitter would be missed by chance.
    """
    stretched = 1 + settings.jitter
    back_s = sum(settings.backoff_s(failures) for failures in range(1, 9)) * stretched + 0.3
    return KeyCase(
        name=name,
        story=story,
        clients=_unknown_and_known(back_s + settings.backoff_cap_s * stretched + 0.8),
        gates=("start", "single-flight", "floor", *_ANSWER_GATES, "ledger", *gates, "backoff", "jitter", "recovery"),
        start=start,
        origin=(OriginChange(0, mode="fail", delay_s=0.05), OriginChange(back_s, mode="ok")),
        verifier_settings=settings,
        necessary=None,
    )


def _outage_with_keys(promises: VerifierSettings | None) -> KeyCase:
    story = "the origin fails while unknown keys come in: fetches back off, known keys are served throughout"
    settings = promises or VerifierSettings(cool_down_s=0.1)
    return _outage("failing-cached", story, Start.CACHED, ("known-kids",), settings)


def _outage_without_keys(promises: VerifierSettings | None) -> KeyCase:
    story = "the origin fails from the start: the whole fleet backs off together also where no key set is cached"
    return _outage("failing-cold", story, Start.COLD, (), promises or VerifierSettings(cool_down_s=0.1))


def _leader_kill(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="leader-killed",
        story="the process that fetches is killed in the middle of it: another takes over at once",
        clients=_unknown_and_known(2.0),
        gates=("start", "single-flight", *_ANSWER_GATES, "ledger", "known-kids", "takeover"),
        origin=(OriginChange(0, delay_s=0.8),),
        verifier_settings=promises or VerifierSettings(wait_timeout_s=2.5),
        necessary=2,
        leader_fault=LeaderFault.KILL,
    )


def _leader_stop(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(
        cool_down_s=0.5, wait_timeout_s=0.5, fetch_timeout_s=1.2, leader_timeout_s=1.5
    )
    return KeyCase(
        name="leader-stopped",
        story="the process that fetches is stopped in the middle of it: another takes over after the leader timeout",
        clients=_unknown_and_known(settings.leader_timeout_s + 2.0),
        gates=("start", "single-flight", "floor", *_ANSWER_GATES, "ledger", "known-kids", "takeover"),
        origin=(OriginChange(0, delay_s=0.6),),
        verifier_settings=settings,
        necessary=None,
        leader_fault=LeaderFault.STOP,
    )


def _ttl_expiry(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(cool_down_s=0.3, ttl_s=1.0)
    end_s = 3 * settings.ttl_s
    # Full jitter would let it refresh at any time; the cool-down and a fetch always lie between two.
    apart_s = max(settings.ttl_s * (1 - settings.jitter), settings.cool_down_s + _FETCH_S)
    return KeyCase(
        name="ttl-expiry",
        story="the keys of the whole fleet are due at the same instant: one refreshes, the others use what they have",
        clients=(TokenClient(Token.KNOWN, pace_s=_VALID_PACE_S, until_s=end_s),),
        gates=("start", "single-flight", "floor", "amplification", "lives", "ledger", "known-kids"),
        start=Start.EXPIRED,
        origin=(_ANSWERS,),
        verifier_settings=settings,
        necessary=1 + ceil(end_s / apart_s),
    )


def _withdrawn_key(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(cool_down_s=0.3, ttl_s=1.0)
    withdrawn_s = _FETCH_S + 0.6
    end_s = withdrawn_s + max(settings.ttl_s, settings.cool_down_s) + _FETCH_S + 1.5
    return KeyCase(
        name="withdrawn-key",
        story="the issuer takes a key out of its set: tokens of it are refused once the keys have expired",
        clients=tuple(
            TokenClient(token, pace_s=_SLOW_PACE_S, until_s=end_s) for token in (Token.WITHDRAWN, Token.KNOWN)
        ),
        gates=("start", "single-flight", "floor", "lives", "ledger", "known-kids", "withdrawn"),
        origin=(
            OriginChange(0, delay_s=_FETCH_S, rotated=True),
            OriginChange(withdrawn_s, rotated=False),
        ),
        verifier_settings=settings,
        necessary=None,
    )


def _lapsed_tokens(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="lapsed-tokens",
        story="a token is accepted until it expires, and sent again right after, beside a new one that ends with it",
        clients=(TokenClient(Token.LAPSED, pace_s=_VALID_PACE_S), _VALID_MEANWHILE),
        gates=("lives", "known-kids", "expiry"),
        origin=(_ANSWERS,),
        verifier_settings=promises or VerifierSettings(cool_down_s=0.2),
        necessary=0,
    )


def _flood(promises: VerifierSettings | None) -> KeyCase:
    settings = promises or VerifierSettings(cool_down_s=0.8)
    end_s = 3 * (settings.cool_down_s + _FETCH_S) + 0.2
    return KeyCase(
        name="flood",
        story="unknown keys keep coming over many cool-downs: one fetch each, and no valid user notices",
        clients=(
            TokenClient(Token.UNKNOWN, pace_s=0.005, until_s=end_s),
            TokenClient(Token.KNOWN, pace_s=_VALID_PACE_S, until_s=end_s),
        ),
        gates=(*_FETCH_GATES, "known-kids", "connections"),
        origin=(_ANSWERS,),
        verifier_settings=settings,
        necessary=None,
    )


def _pooler(promises: VerifierSettings | None) -> KeyCase:
    return KeyCase(
        name="pooler",
        story="random unknown keys, with a pooler in transaction mode between fleet and database: still one leader",
        # Not the usual minute: a lock that was left behind in the pooler makes every call wait.
        clients=(
            TokenClient(Token.UNKNOWN, count=50, until_s=20.0),
            TokenClient(Token.KNOWN, pace_s=_VALID_PACE_S, until_s=20.0, background=True),
        ),
        gates=(*_FETCH_GATES, "known-kids", "connections"),
        origin=(_ANSWERS,),
        verifier_settings=promises or VerifierSettings(),
        pooled=True,
    )


def _store_fails(name: str, story: str, fault: StoreFault) -> Build:
    """The shared store fails while keys are due and a new one begins to sign; then it comes back."""

    def build(promises: VerifierSettings | None) -> KeyCase:
        settings = promises or VerifierSettings(
            cool_down_s=0.3, ttl_s=1.0, wait_timeout_s=0.4, fetch_timeout_s=0.8, leader_timeout_s=1.2
        )
        from_s, until_s = 0.3, 2.3
        end_s = until_s + settings.cool_down_s + settings.wait_timeout_s + settings.fetch_timeout_s + 2.0
        return KeyCase(
            name=name,
            story=story,
            clients=(*_unknown_and_known(end_s), TokenClient(Token.ROTATED, pace_s=_SLOW_PACE_S, until_s=end_s)),
            gates=(
                "start",
                "single-flight",
                "floor",
                *_ANSWER_GATES,
                "ledger",
                "known-kids",
                "store-wait",
                "store-back",
            ),
            origin=(_ANSWERS, OriginChange(from_s + 0.1, rotated=True)),
            verifier_settings=settings,
            necessary=None,
            store_fault=fault,
            store_fault_s=(from_s, until_s),
        )

    return build


_BUILDS: tuple[Build, ...] = (
    _random_key_ids,
    _forged_tokens,
    _without_key_id,
    _cold_start,
    _rotation_outside_cool_down,
    _rotation_inside_cool_down,
    _slower_than_wait_timeout,
    _slower_than_cool_down,
    _outage_with_keys,
    _outage_without_keys,
    _leader_kill,
    _leader_stop,
    _ttl_expiry,
    _withdrawn_key,
    _lapsed_tokens,
    _flood,
    _pooler,
    _store_fails("store-gone", "the shared store is gone for two seconds: nobody fetches alone", StoreFault.CUT),
    _store_fails("store-still", "the shared store stands still for two seconds: nobody waits for it", StoreFault.HOLD),
    _store_fails("store-read-only", "the shared store takes no writes for two seconds", StoreFault.READ_ONLY),
)
CASES: Mapping[str, Build] = {build(None).name: build for build in _BUILDS}
