"""The gates of the storm of unknown key ids over literal evidence: what turns each of them red.

Times are milliseconds since the release. The healthy storm has one fetch, from 10 to 210, and four processes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from rig.checks.judge import judge
from rig.checks.key_storms.figures import amplification, expected_fetches, gaps_s, most_at_once, most_in_a_cool_down
from rig.checks.key_storms.gates import GATES, figures_of, storm_gates
from rig.evidence.bad_tokens import FORGED
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.incident import Incident, Mishap
from rig.evidence.key_case import Start
from rig.evidence.key_storm import CALL_COLUMNS, DatabaseConnections, Decision, Fetch, Holding, KeyStorm, Mark, no_calls
from rig.evidence.storm import UNKNOWN_KID, missing_section
from rig.evidence.verifier_settings import VerifierSettings, VerifierTraits

MS = 1_000_000
RELEASED = 50_000 * MS


def at(ms: float) -> int:
    return RELEASED + round(ms * MS)


def fetch(start: float, end: float | None, outcome: str = "200", member: int | None = None) -> Fetch:
    return Fetch(at(start), None if end is None else at(end), outcome, member)


def calls(*rows: tuple[int, str, float, float, bool], error: str = "Refused") -> pd.DataFrame:
    """member, token, start, end, accepted."""
    return pd.DataFrame(
        [(member, token, at(start), at(end), ok, "" if ok else error) for member, token, start, end, ok in rows],
        columns=list(CALL_COLUMNS),
    )


HEALTHY_CALLS = tuple(
    row
    for member in range(4)
    for row in (
        (member, "unknown", 5, 220, False),
        (member, "unknown", 221, 222, False),
        (member, "forged", 223, 224, False),
        (member, "known", 6, 7, True),
        (member, "known", 300, 301, True),
        (member, "rotated", 8, 225, True),
    )
)


def storm(**changes: Any) -> KeyStorm:
    one = (fetch(10, 210, member=2),)
    healthy = KeyStorm(
        case="random-kids",
        story="a story",
        processes=4,
        verifier_settings=VerifierSettings(cool_down_s=1.0, wait_timeout_s=0.5),
        gates=("single-flight",),
        skew_ns=MS,
        released_ns=RELEASED,
        ended_ns=at(400),
        before=1,
        fetches=one,
        proxy_fetches=one,
        own=2,
        connections=DatabaseConnections(4, 4),
        holdings=(Holding(at(20), 4711, 3),),
        calls=calls(*HEALTHY_CALLS),
    )
    return replace(healthy, **changes)


def gate(name: str, **changes: Any) -> Gate:
    (only,) = storm_gates(storm(gates=(name,), **changes))
    assert only.id == f"storm.random-kids.{name}"
    return only


def fetched(*fetches: Fetch, **changes: Any) -> dict[str, Any]:
    return {"fetches": fetches, "proxy_fetches": fetches, **changes}


OUTAGE = (fetch(0, 50, "503"), fetch(310, 360, "503"), fetch(900, 950, "503"), fetch(2100, 2150, "503"))
BACKOFF = VerifierSettings(cool_down_s=0.1, backoff_base_s=0.25, backoff_cap_s=1.0, jitter=0.2)
FAILING = {
    **fetched(*OUTAGE, fetch(3300, 3350)),
    "verifier_settings": BACKOFF,
    "ended_ns": at(4000),
    "marks": (Mark(at(0), "origin fail"), Mark(at(2500), "origin ok")),
    "decisions": (Decision(1, 0.26, "503"), Decision(2, 0.55, "503"), Decision(3, 1.14, "503"), Decision(0, 0.1, "")),
    "calls": calls(*((member, "known", 3400, 3401, True) for member in range(4))),
}
KILLED = {
    **fetched(fetch(10, 130, "aborted", member=1), fetch(131, 331, member=2)),
    "marks": (Mark(at(110), "kill", 1),),
}
STOPPED = {
    **fetched(fetch(10, 210, member=1), fetch(1500, 1700, member=2)),
    "verifier_settings": VerifierSettings(cool_down_s=1.0, leader_timeout_s=1.5),
    "marks": (Mark(at(110), "stop", 1), Mark(at(1600), "continue", 1)),
}
ROTATED = {"marks": (Mark(at(0), "rotation"),)}
LATE = {**ROTATED, "calls": calls((0, "rotated", 800, 801, False), (0, "rotated", 1250, 1251, True))}
"""Refused until the cool-down is over once more."""


def waited(*shares: float, **changes: Any) -> dict[str, Any]:
    """An outage with so much more than each wait of the schedule, as the origin saw it; each fetch took 50 ms."""
    verifier_settings = changes.get("verifier_settings", BACKOFF)
    fetches, start = [fetch(0, 50, "503")], 0.0
    for failures, share in enumerate(shares, 1):
        start += 50 + verifier_settings.backoff_s(failures) * (1 + share) * 1e3
        fetches.append(fetch(start, start + 50, "503"))
    return {**FAILING, **fetched(*fetches), "decisions": (), **changes}


def decided(*shares: float, **changes: Any) -> dict[str, Any]:
    """The same as the subject wrote it down."""
    verifier_settings = changes.get("verifier_settings", BACKOFF)
    waits = enumerate(shares, 1)
    noted = tuple(
        Decision(failures, verifier_settings.backoff_s(failures) * (1 + share), "503") for failures, share in waits
    )
    return {**waited(*shares), "decisions": noted, **changes}


def asking_since(ms: float, **changes: Any) -> dict[str, Any]:
    """The same with a token that was asked with so long before each fetch began, and is answered while it lasts."""
    starts = [(one.start_ns - RELEASED) / MS for one in changes["fetches"]]
    return {**changes, "calls": calls(*((0, "unknown", start - ms, start + 10, False) for start in starts))}


BARELY = (0.1, 0.1, 0.1, 0.1, 0.1, 0.14, 0.1, 0.1)
"""40 ms of a second between the least and the most: no lag of 30 ms."""
LAGGING = (0.06, 0.01, 0.012, 0.004, 0.009, 0.006, 0.011, 0.008)
"""No jitter at all, and up to 15 ms until somebody fetches."""
LONG_FLOOR = VerifierSettings(cool_down_s=0.8, backoff_base_s=0.1, backoff_cap_s=1.6, jitter=0.2)
"""Longer than the first three waits of the backoff."""
FORGED_CALLS = calls(
    *(
        (0, f"forged {kind} {algorithm}", 1, 2, False)
        for kind in FORGED
        for algorithm in (("-",) if kind == "form" else VerifierTraits().algorithms)
    ),
    (0, "unknown", 3, 4, False),
)
TOOK = {
    "calls": calls((0, "forged none ES256", 1, 2, True), (0, "forged none RS256", 1, 2, True)),
    "incidents": (Incident(Mishap.ACCEPTED, 0, "forged none ES256", "", "eyJhbGciOiJub25lIn0.e30."),),
}
DIED = {
    "incidents": (Incident(Mishap.NO_ANSWER, 3, "forged form -", "died of SIGSEGV", "..."),),
    "missing": ("process 3 died of SIGSEGV",),
}
SLOW = {"calls": calls((0, "known", 1, 700, True))}
LAX = VerifierTraits(unchecked=("audience",), refuses_with=("KeyError",))
WAITING = VerifierTraits(waits=True)
TAKING = VerifierTraits(without_key_id="accepted")
UNTAKING = VerifierTraits(without_key_id="refused")
UNNAMED_TAKEN = {"calls": calls((0, "unnamed", 1, 2, True), (1, "unnamed", 1, 2, True))}
UNNAMED_REFUSED = {"calls": calls((0, "unnamed", 1, 2, False))}
DEAD = {"missing": ("process 3 died of SIGSEGV",)}


def withdrawn(last_ms: float, asked_until_ms: float = 3000) -> dict[str, Any]:
    """Two processes ask with a key that is withdrawn at 400; one accepts it for the last time then. The limit: 1950."""
    rows = [
        (member, "withdrawn", ms, ms + 1, ms <= (last_ms if member else 900))
        for member in range(2)
        for ms in range(100, round(asked_until_ms) + 1, 100)
    ]
    settings = VerifierSettings(cool_down_s=0.3, ttl_s=1.0)
    return {"calls": calls(*rows), "marks": (Mark(at(400), "withdrawal"),), "verifier_settings": settings}


def lapsed(new: bool, seen: bool, valid: bool = True) -> dict[str, Any]:
    """Whether a token is accepted before its end; after it a new one, and the one that was seen."""
    rows = [
        (member, f"lapsed {when}", start, start + 1, accepted and member < 2)
        for member in range(3)
        for when, start, accepted in (("valid", 1, valid), ("new", 2000, new), ("seen", 2100, seen))
    ]
    return {"calls": calls(*rows)}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("single-flight", {}),
        ("single-flight", KILLED),  # the killed one's fetch ended with it, whenever its connection did
        ("floor", {}),
        ("floor", fetched(fetch(10, 210), fetch(1211, 1400))),
        ("amplification", {}),
        ("false-accepts", {}),
        ("known-kids", {}),
        ("known-kids", {**SLOW, "before": 0, "start": Start.COLD}),  # the first fetch is everybody's wait
        ("known-kids", {**SLOW, "before": 0}),  # a pack from before the start state was kept
        ("follower-wait", {}),
        ("rotation", ROTATED),
        ("rotation", {**ROTATED, "start": Start.CACHED}),
        ("rotation", LATE),  # a pack from before the start state was kept: the cool-down may not have been over
        ("rotation", {**LATE, "start": Start.CACHED, "marks": (Mark(at(400), "rotation"),)}),  # just after a fetch
        ("connections", {}),
        ("ledger", {}),
        ("own-count", {}),
        ("lives", {}),
        ("refusals", {"calls": FORGED_CALLS}),
        ("refusals", {"calls": calls((0, "unknown", 1, 2, False), error="KeyError"), "traits": LAX}),
        *((f"forged-{kind}", {"calls": FORGED_CALLS}) for kind in FORGED),
        ("start", {"early": (fetch(-900, -700),)}),
        ("start", {"early": (fetch(-2900, -2700), fetch(-1600, -1500)), "before": 2}),
        ("waits", {"traits": WAITING}),
        ("withdrawn", withdrawn(1900)),
        ("expiry", lapsed(new=False, seen=False)),
        ("no-key-id", {**UNNAMED_TAKEN, "traits": TAKING}),
        ("no-key-id", {**UNNAMED_REFUSED, "traits": UNTAKING}),
        ("refusals", UNNAMED_REFUSED),
        ("refusals", UNNAMED_TAKEN),
        ("amplification", {**fetched(), "necessary": 0}),
        ("backoff", FAILING),
        ("jitter", FAILING),
        ("jitter", {**FAILING, "decisions": ()}),
        ("jitter", waited(*BARELY)),
        ("jitter", asking_since(900, **waited(*BARELY))),  # it was let wait until the backoff was over
        ("jitter", decided(0.1, 0.1, 0.106, 0.1)),
        ("jitter", decided(0.01, 0.01, 0.0106, 0.01, verifier_settings=replace(BACKOFF, jitter=0.02))),
        ("jitter", waited(0, 0, 0, 0.1, 0.16, 0.02, verifier_settings=LONG_FLOOR)),
        ("recovery", FAILING),
        ("takeover", KILLED),
        ("takeover", STOPPED),
        ("floor", {**STOPPED, **fetched(fetch(10, 1400, member=1), fetch(1500, 1700), fetch(2750, 2900))}),
    ],
)
def test_healthy_evidence_passes(name: str, changes: dict[str, Any]) -> None:
    found = gate(name, **changes)
    assert (found.verdict, found.reason) == (Verdict.PASS, "")


LONG_WAITS = calls(*HEALTHY_CALLS, *((member, "unknown", 0, 1200, False) for member in range(4)))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("single-flight", fetched(fetch(10, 210), fetch(209, 400)), "2 at once"),
        ("single-flight", fetched(fetch(10, None), fetch(390, 400)), "2 at once"),
        ("single-flight", fetched(), "nobody fetched"),
        ("floor", fetched(fetch(10, 210), fetch(1100, 1300)), "a fetch began 0.890 s after another had ended"),
        ("floor", fetched(fetch(10, 900), fetch(20, 30)), "a fetch began 0.880 s before another had ended"),
        ("amplification", fetched(fetch(10, 210), fetch(250, 300)), "2 fetches, 2 within one cool-down"),
        ("amplification", fetched(), "nobody fetched: a new key would never be found"),
        (
            "amplification",
            {**fetched(), "start": Start.EXPIRED},
            "nobody fetched: keys that the issuer has withdrawn would be accepted until an unknown key id comes; if "
            "old keys are kept by design, write expires = false into promises",
        ),
        ("false-accepts", {"calls": calls((0, "forged", 1, 2, True))}, "1 accepted"),
        ("false-accepts", {"calls": calls((0, "unknown", 1, 2, True)), "missing": ("process 1 died",)}, "1 accepted"),
        (
            "false-accepts",
            {
                "calls": calls((0, "unknown", 1, 2, False), (1, "forged", 1, 2, False), error="Failed 500")
            },  # an old pack
            "2 neither accepted nor refused (Failed 500 2)",
        ),
        ("false-accepts", {"calls": calls((0, "unknown", 1, 2, False), error="Failed")}, "(Failed 1)"),
        ("known-kids", {"calls": calls((0, "known", 1, 2, True), (0, "known", 3, 4, False))}, "1 refused (Refused 1)"),
        ("known-kids", SLOW, "p99 699.0 ms"),
        # A fleet that runs already had fetched in the case before: it has keys, and its users need not wait.
        ("known-kids", {**SLOW, "before": 0, "start": Start.CACHED}, "p99 699.0 ms"),
        ("single-flight", {**fetched(fetch(10, 210), fetch(209, 400)), **DEAD}, "2 at once"),
        ("backoff", {**FAILING, **fetched(*OUTAGE[:2], fetch(500, 550, "503")), **DEAD}, "came too early"),
        ("follower-wait", {"calls": LONG_WAITS}, "4 waited longer, 1 fetched"),
        (
            "rotation",
            {**ROTATED, "calls": calls((0, "rotated", 1700, 1701, False), (0, "rotated", 1800, 1801, True))},
            "still refused after 1.70 s",
        ),
        ("rotation", {**LATE, "start": Start.CACHED}, "still refused after 0.80 s"),
        (
            "rotation",
            {**ROTATED, "calls": calls((0, "rotated", 8, 225, True), (1, "rotated", 1700, 1701, False))},
            "still refused after at least 1.70 s, when the storm ended, by 1 of 2 processes",
        ),
        (
            "rotation",
            {**ROTATED, "calls": calls((0, "rotated", 1, 2, True), (1, "rotated", 1, 2, False))},
            "only 1 of 2 processes came to accept it",
        ),
        ("connections", {"connections": DatabaseConnections(40, 9)}, "40 were opened"),
        ("ledger", {"proxy_fetches": (fetch(10, 210), fetch(220, 230))}, "they do not"),
        ("ledger", {"proxy_fetches": ()}, "they do not"),
        ("own-count", {"own": 1}, "it counts 1, the origin 2"),
        ("start", {"early": (fetch(-900, -700), fetch(-800, -700)), "before": 2}, "2 fetches"),
        ("lives", DIED, "process 3 died of SIGSEGV; process 3, forged form -: ..."),
        *(
            (
                "refusals",
                {"calls": calls((0, "unknown", 1, 2, False), error=error)},
                f"1 met an error ({error} 1)",
            )
            for error in ("AttributeError", "KeyError", "Failed 500", "BaseException PanicException")
        ),
        ("forged-none", TOOK, '2 accepted of ES256, RS256; process 0, forged none ES256: {"alg":"none"} {}'),
        ("waits", {"traits": WAITING, "calls": calls((0, "rotated", 1, 2, False))}, "1 refused (Refused 1)"),
        ("backoff", {**FAILING, **fetched(*OUTAGE[:2], fetch(500, 550, "503"))}, "came too early: 0.140 s"),
        ("backoff", {**FAILING, **fetched(*OUTAGE[:2], fetch(3000, 3050, "503"))}, "came too late: 2.640 s"),
        ("jitter", decided(0.0, 0.0, 0.0), "they differ by 0.0000 only"),
        ("jitter", decided(0.1, 0.1, 0.104, 0.1), "they differ by 0.0040 only"),
        # What it wrote down differs, and what it did does not.
        (
            "jitter",
            {**waited(0.0, 0.0, 0.0), "decisions": decided(0.02, 0.11, 0.19)["decisions"]},
            "it wrote down a wait of 0.555 s, and fetched after 0.500 s",
        ),
        (
            "jitter",
            decided(0.1, 0.1, 0.12, 0.1, verifier_settings=replace(BACKOFF, jitter=1.0)),
            "they differ by 0.0200 only",
        ),
        ("jitter", waited(*LAGGING), "they differ by 0.0080 only"),
        ("jitter", waited(0.002, 0.001, 0.003), "they differ by 0.0020 only"),
        ("recovery", {**FAILING, **fetched(*OUTAGE)}, "no fetch for at least 1.50 s"),
        ("no-key-id", {**UNNAMED_REFUSED, "traits": TAKING}, "1 refused"),
        ("withdrawn", withdrawn(2500), "6 accepted by 1 of 2 processes, the last 2.10 s after"),
        ("withdrawn", {**withdrawn(2500), **DEAD}, "6 accepted"),
        ("expiry", lapsed(new=False, seen=True), "2 accepted by 2 of 3 processes"),
        ("no-key-id", {**UNNAMED_TAKEN, "traits": UNTAKING}, "2 accepted"),
        ("refusals", {"calls": calls((0, "unnamed", 1, 2, False), error="KeyError")}, "1 met an error"),
        ("recovery", {**FAILING, "calls": calls((0, "known", 3400, 3401, True), (1, "known", 9, 10, True))}, "only 1"),
        ("takeover", {**KILLED, **fetched(fetch(10, 130, "aborted", member=1))}, "nobody took over"),
        ("takeover", {**KILLED, **fetched(fetch(10, 130, "aborted", 1), fetch(1500, 1600))}, "1.39 s"),
        # It went on because it was let go, not because another took over.
        ("takeover", {**STOPPED, **fetched(fetch(10, 210, member=1), fetch(1900, 2000))}, "nobody took over"),
    ],
)
def test_each_gate_can_fail(name: str, changes: dict[str, Any], reason: str) -> None:
    found = gate(name, **changes)
    assert found.verdict is Verdict.FAIL
    assert reason in found.reason


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("false-accepts", {"calls": calls((0, "known", 1, 2, True))}, "nobody asked"),
        ("false-accepts", {"missing": ("process 3 died of SIGSEGV",)}, "process 3 died of SIGSEGV"),
        ("known-kids", {"missing": ("process 3 died of SIGSEGV",)}, "process 3 died of SIGSEGV"),
        # What nobody did may have been the part of the one that is missing.
        ("single-flight", {**fetched(), **DEAD}, "process 3 died of SIGSEGV"),
        ("amplification", {**fetched(), **DEAD}, "process 3 died of SIGSEGV"),
        ("backoff", {**FAILING, **fetched(*OUTAGE[:2], fetch(3000, 3050, "503")), **DEAD}, "process 3 died"),
        ("recovery", {**FAILING, **fetched(*OUTAGE), **DEAD}, "process 3 died of SIGSEGV"),
        ("takeover", {**KILLED, **fetched(fetch(10, 130, "aborted", member=1)), **DEAD}, "process 3 died of SIGSEGV"),
        ("takeover", {**KILLED, **fetched(fetch(10, 130, "aborted", 1), fetch(1500, 1600)), **DEAD}, "process 3 died"),
        ("rotation", {}, "no key was rotated"),
        ("withdrawn", {**withdrawn(900), "marks": ()}, "no key was withdrawn"),
        ("withdrawn", withdrawn(900, 1800), "nobody asked with the key"),
        ("withdrawn", {**withdrawn(900), "calls": calls((0, "withdrawn", 2900, 2901, False))}, "nobody was accepted"),
        ("withdrawn", {**withdrawn(900), **DEAD}, "process 3 died of SIGSEGV"),
        ("expiry", lapsed(new=False, seen=False, valid=False), "no token was accepted before its end"),
        ("expiry", {"calls": calls((0, "lapsed valid", 1, 2, True))}, "no token was accepted before its end"),
        ("expiry", {**lapsed(new=False, seen=False), **DEAD}, "process 3 died of SIGSEGV"),
        ("lives", DEAD, "process 3 died of SIGSEGV"),
        ("forged-none", {}, "nobody asked with such a token of ES256, EdDSA, RS256"),
        (
            "forged-none",
            {"calls": FORGED_CALLS[FORGED_CALLS["token"] != "forged none ES256"]},
            "nobody asked with such a token of ES256",
        ),
        ("forged-form", {"calls": calls()}, "nobody asked with such a token"),
        ("no-key-id", {"traits": TAKING}, "nobody asked with a token that is unnamed"),
        ("start", DEAD, "process 3 died of SIGSEGV"),
        ("waits", {"traits": WAITING, **fetched()}, "nobody asked while its key was fetched"),
        ("forged-none", {"calls": FORGED_CALLS, **DEAD}, "process 3 died of SIGSEGV"),
        # Every process died while it was made: nobody fetched, and nobody knows what it would have done.
        *((name, {**fetched(), **DEAD, "calls": calls()}, "process 3 died") for name in ("floor", "ledger")),
        ("backoff", {}, "only 0 fetches failed"),
        ("jitter", {}, "only 0 fetches failed"),
        # Jitter or a lag: of so few waits nobody can tell.
        ("jitter", waited(0.04, 0.02, 0.01), "only below 0.0037 would jitter of 0.2 be ruled out"),
        ("jitter", asking_since(20, **waited(*BARELY)), "6 delays differ by 0.0400"),
        ("recovery", {}, "did not come back"),
        ("takeover", {}, "no process was caught"),
    ],
)
def test_evidence_that_cannot_carry_the_claim_is_invalid(name: str, changes: dict[str, Any], reason: str) -> None:
    found = gate(name, **changes)
    assert found.verdict is Verdict.INVALID
    assert reason in found.reason


def test_what_was_not_tried_is_named_and_invalid_only_where_it_was_asked_for() -> None:
    (left_out,) = storm_gates(storm(not_run="pgbouncer is not installed"))
    (asked_for,) = storm_gates(storm(not_run="pgbouncer is not installed", asked=True))
    assert (left_out.verdict, left_out.reason) == (Verdict.NOT_RUN, "pgbouncer is not installed")
    assert asked_for.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("floor", fetched(), "nobody fetched"),
        ("ledger", fetched(), "nobody fetched"),
        ("own-count", {"own": None}, "does not count"),
        ("own-count", {"own": 0, "before": 0, **fetched()}, "nobody fetched"),
        ("waits", {}, "not promised"),
        ("expiry", lapsed(new=True, seen=True), "a leeway"),
        ("no-key-id", UNNAMED_TAKEN, "2 of 2 were accepted"),
        ("forged-audience", {"traits": LAX}, "by design"),
    ],
)
def test_what_cannot_be_asked_is_not_run(name: str, changes: dict[str, Any], reason: str) -> None:
    found = gate(name, **changes)
    assert (found.verdict, reason in found.reason) == (Verdict.NOT_RUN, True)


def test_connections_of_a_verifier_without_any_are_not_judged() -> None:
    assert gate("connections", connections=None).verdict is Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (waited(*LAGGING, verifier_settings=replace(BACKOFF, jitter=0.0)), "no jitter is promised"),
        (decided(*LAGGING, verifier_settings=replace(BACKOFF, jitter=0.0)), "no jitter is promised"),
        (
            waited(*[0.0] * 8, verifier_settings=replace(BACKOFF, cool_down_s=1.5)),
            "8 of 8 waits are as long as the cool-down",
        ),
    ],
)
def test_jitter_that_cannot_show_is_not_judged(changes: dict[str, Any], reason: str) -> None:
    found = gate("jitter", **changes)
    assert found.verdict is Verdict.NOT_RUN
    assert reason in found.reason


def seen_outages(jitter: float, times: int) -> list[Verdict]:
    """Verdicts on outages of eight failures whose waits are stretched by so much at most, and seen with a lag."""
    dice = random.Random(20)
    return [
        gate(
            "jitter",
            **waited(*(dice.uniform(0, jitter) + dice.uniform(0, 0.02) / BACKOFF.backoff_s(n) for n in range(1, 8))),
        ).verdict
        for _ in range(times)
    ]


def test_of_an_outage_that_only_the_origin_saw_hardly_anything_is_left_to_chance() -> None:
    with_jitter, without = seen_outages(0.2, 150), seen_outages(0.0, 150)
    assert with_jitter.count(Verdict.PASS) >= 147
    assert Verdict.PASS not in without
    assert without.count(Verdict.FAIL) >= 140


def test_figures_of_fetches() -> None:
    overlapping = storm(**fetched(fetch(0, 100), fetch(50, 300), fetch(200, 250), fetch(1400, 1500)))
    assert most_at_once(overlapping) == 2
    assert gaps_s(overlapping) == pytest.approx([-0.05, -0.1, 1.1])
    assert most_in_a_cool_down(overlapping) == 3
    assert expected_fetches(overlapping) == 1
    assert amplification(overlapping) == 4.0


def test_one_end_and_another_start_at_the_same_instant_are_not_two_at_once() -> None:
    assert most_at_once(storm(**fetched(fetch(0, 100), fetch(100, 200)))) == 1


def test_a_storm_that_outlasts_the_cool_down_leaves_room_for_more() -> None:
    long = storm(calls=calls((0, "unknown", 0, 2500, False)), **fetched(fetch(0, 200), fetch(1210, 1410)))
    assert expected_fetches(long) == 3
    assert expected_fetches(replace(long, necessary=7)) == 7


def test_a_storm_without_a_single_call_is_judged_all_the_same() -> None:
    dead = storm(gates=GATES, calls=no_calls(), own=None, before=0, **fetched(), **DEAD)
    assert {one.verdict for one in storm_gates(dead)} == {Verdict.INVALID, Verdict.NOT_RUN}


def test_an_exhibit_is_shown_and_not_judged() -> None:
    red = storm(gates=GATES, display_only=True, subject="somebody", note="does something", **fetched())
    assert not [one for one in judge(Case(verb="storm", key_storms=(red,))) if one.id.startswith("storm.")]


def test_a_profile_without_the_storm_is_named() -> None:
    for asked, verdict in ((False, Verdict.NOT_RUN), (True, Verdict.INVALID)):
        gates = judge(Case(verb="storm", storms=(missing_section(UNKNOWN_KID, asked=asked),)))
        assert [one.verdict for one in gates if one.id == "storm.unknown-kid"] == [verdict]


def test_figures_hold_the_gates_and_what_was_not_run() -> None:
    assert figures_of(storm())["of_gates"] == {"single-flight": {"most_at_once": 1, "fetches": 1}}
    assert figures_of(storm(not_run="why")) == {"not_run": "why"}


AWAY = (Mark(at(300), "store away"), Mark(at(2300), "store back"))
QUICK = VerifierSettings(cool_down_s=0.3, wait_timeout_s=0.4, fetch_timeout_s=0.8)


@pytest.mark.parametrize(
    ("name", "rows", "verdict"),
    [
        ("store-wait", ((0, "unknown", 400, 1600, False), (1, "known", 500, 501, True)), Verdict.PASS),
        ("store-wait", ((0, "unknown", 400, 2400, False),), Verdict.FAIL),
        ("store-wait", ((0, "unknown", 2500, 4500, False),), Verdict.INVALID),
        ("store-back", ((0, "rotated", 400, 401, False), (0, "rotated", 2900, 2901, True)), Verdict.PASS),
        ("store-back", ((0, "rotated", 2900, 2901, True), (1, "rotated", 2900, 2901, False)), Verdict.FAIL),
        ("store-back", ((0, "rotated", 7900, 7901, True),), Verdict.FAIL),
    ],
)
def test_a_store_that_is_away_keeps_nobody_and_its_return_is_noticed(
    name: str, rows: tuple[Any, ...], verdict: Verdict
) -> None:
    away: dict[str, Any] = {"marks": AWAY, "verifier_settings": QUICK, "calls": calls(*rows)}
    assert gate(name, **away).verdict is verdict
    assert gate(name, **{**away, "marks": ()}).verdict is Verdict.INVALID
    assert gate(name, **away, connections=None).verdict is Verdict.NOT_RUN
