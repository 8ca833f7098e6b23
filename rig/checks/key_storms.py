"""``storm.<case>.<gate>``: the key storm, judged from what was counted outside the fleet.

The gates ask for few fetches and for right answers: a verifier that never fetches, or refuses everybody, passes
nothing. The evidence of a case says which gates it has. What the origin counted is judged in any case. What only the
callers can tell is INVALID where one of them gave no report, unless it is wrong already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.jitter import LAG_S, LEAST_DELAYS, Delay, Undecided, find_alike_decisions, find_alike_gaps, spread
from rig.checks.key_storm_figures import (
    CLOCKS,
    amplification,
    duration_s,
    expected_fetches,
    gaps_s,
    most_at_once,
    most_in_a_cool_down,
    spans,
)
from rig.checks.race_tests import RAN, not_run_gate
from rig.evidence.bad_tokens import FAILED, FORGED, is_refusal
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.incident import Mishap
from rig.evidence.key_case import Start, Token
from rig.evidence.key_storm import Fetch, KeyStorm
from rig.evidence.storm import UNKNOWN_KID
from rig.stats import quantile_figures

KNOWN_P99_LIMIT_S = 0.5
"""A known key waits for nothing; this is room for a machine with more processes than cores."""
SCHEDULING_S = 0.35
"""Room in the limit of a single event, for the scheduler of a machine with many processes and few cores."""
TAKEOVER_S = 1.0
SPARE_CONNECTIONS = 4
_FAILURES_MIN = 3
_TOKEN_SHOWN = 60
_HUNG = "Hung"


def storm_gates(storm: KeyStorm) -> list[Gate]:
    """The gates of one case."""
    prefix = f"storm.{storm.case}"
    if storm.not_run:
        verdict = Verdict.INVALID if storm.asked else Verdict.NOT_RUN
        return [Gate(prefix, verdict, storm.story, reason=storm.not_run)]
    return [_gate(storm, f"{prefix}.{name}", _RULES[name]) for name in storm.gates]


class _Unjudgeable(Exception):
    """The evidence cannot carry the claim. The message says why."""


class _NotTried(Exception):
    """There is nothing to judge. The message says why."""


_Finding = tuple[str, Mapping[str, Any], str]
"""The rule, its figures, and what is wrong: empty where nothing is."""


def _gate(storm: KeyStorm, gate_id: str, rule: Callable[[KeyStorm], _Finding]) -> Gate:
    try:
        sentence, figures, wrong = rule(storm)
    except (_Unjudgeable, Undecided, _NotTried) as reason:
        verdict = Verdict.NOT_RUN if isinstance(reason, _NotTried) else Verdict.INVALID
        return Gate(gate_id, verdict, (rule.__doc__ or "").strip(), reason=str(reason))
    return Gate(gate_id, Verdict.FAIL if wrong else Verdict.PASS, sentence, figures, wrong)


# --- figures of the calls -----------------------------------------------------------------------------------------


def _of(storm: KeyStorm, *kinds: Token) -> pd.DataFrame:
    rows = storm.calls[[Token.of(str(call)) in kinds for call in storm.calls["token"]]]
    if rows.empty:
        _not_done(storm, "")
        raise _Unjudgeable(f"nobody asked with a token that is {' or '.join(kinds)}")
    return rows


def _wait_figures(rows: pd.DataFrame) -> dict[str, float]:
    """Quantiles of how long verifications took, ms."""
    return quantile_figures("wait", (rows["end_ns"] - rows["start_ns"]) / 1e6)


def _count_errors(errors: pd.Series[str]) -> str:
    """Each error and how often it came, the most frequent first."""
    return ", ".join(f"{error} {count}" for error, count in errors.value_counts().items())


def _require_all_reports(storm: KeyStorm, wrong: str) -> str:
    """What is wrong. Where nothing is, but a process gave no report, nobody can tell."""
    return wrong or _not_done(storm, "")


def _not_done(storm: KeyStorm, wrong: str) -> str:
    """What did not happen, or not in time. A process without a report may have done it: then nobody can tell."""
    if storm.missing:
        raise _Unjudgeable("; ".join(storm.missing))
    return wrong


def _lacks_fetch(storm: KeyStorm, wrong: str) -> str:
    """``_not_done`` for a fetch, which nobody can be blamed for where nobody asked."""
    if storm.calls.empty and not storm.missing:
        raise _NotTried("nobody asked")
    return _not_done(storm, wrong)


def _require_fetches(storm: KeyStorm) -> None:
    """Where nobody fetched there is nothing to judge; where processes gave no report, nobody knows why."""
    if not storm.fetches:
        _not_done(storm, "")
        raise _NotTried("nobody fetched")


# --- rules --------------------------------------------------------------------------------------------------------


def _single_flight(storm: KeyStorm) -> _Finding:
    """At most one fetch at a time in the whole fleet."""
    most = most_at_once(storm)
    figures = {"most_at_once": most, "fetches": len(storm.fetches)}
    if not storm.fetches:
        return "at most one fetch at a time, and at least one", figures, _lacks_fetch(storm, "nobody fetched")
    return "at most one fetch at a time, and at least one", figures, f"{most} at once" if most > 1 else ""


def _cool_down(storm: KeyStorm) -> _Finding:
    """From the end of a fetch to the start of the next at least the cool-down passes."""
    _require_fetches(storm)
    cool_down_s = storm.verifier_settings.cool_down_s
    least_s = min(gaps_s(storm), default=None)
    if least_s is None and not _was_asked_after_fetch(storm):
        raise _NotTried("nobody asked again after a fetch, so there was nothing to hold back")
    figures = {"least_gap_s": None if least_s is None else round(least_s, 3), "cool_down_s": cool_down_s}
    short = least_s is not None and least_s < cool_down_s * CLOCKS
    rule = f"from the end of a fetch to the start of the next, at least {cool_down_s:g} s"
    return rule, figures, f"a gap of {least_s:.3f} s" if short else ""


def _was_asked_after_fetch(storm: KeyStorm) -> bool:
    """Whether somebody asked for a new key after the first fetch: a fleet without a cool-down fetches then."""
    ended_ns = [end_ns for _, end_ns in spans(storm)]
    new = storm.calls["token"].isin([Token.UNKNOWN.value, Token.ROTATED.value])
    return bool(ended_ns) and bool((storm.calls["start_ns"][new] >= ended_ns[0]).any())


def _amplification(storm: KeyStorm) -> _Finding:
    """There are no more fetches than necessary."""
    in_a_cool_down = most_in_a_cool_down(storm)
    figures = {
        "fetches": len(storm.fetches),
        "expected_fetches": expected_fetches(storm),
        "amplification": round(amplification(storm), 3),
        "most_in_a_cool_down": in_a_cool_down,
        "before_release": storm.before,
    }
    cool_down_s = storm.verifier_settings.cool_down_s
    rule = f"at most {expected_fetches(storm)} fetches in all, one in any {cool_down_s:g} s, and at least one"
    if not storm.fetches:
        return rule, figures, _lacks_fetch(storm, "nobody fetched: a new key would never be found")
    if in_a_cool_down > 1 or amplification(storm) > 1:
        return rule, figures, f"{len(storm.fetches)} fetches, {in_a_cool_down} within one cool-down"
    return rule, figures, ""


def _false_accepts(storm: KeyStorm) -> _Finding:
    """No token that was not signed by a key of the set is accepted, and each is refused."""
    rows = _of(storm, Token.UNKNOWN, Token.FORGED)
    accepted = int(rows["accepted"].sum())
    failed = rows["error"][[error.partition(" ")[0] == FAILED for error in rows["error"]]]
    figures = {"asked": len(rows), "accepted": accepted, "failed": len(failed)}
    wrong = f"{accepted} accepted{_first_incident(storm, Mishap.ACCEPTED)}" if accepted else ""
    if not wrong and len(failed) and "refusals" not in storm.gates:  # a pack from before that gate
        wrong = f"{len(failed)} neither accepted nor refused ({_count_errors(failed)})"
    return "no bad token is accepted, and each is refused", figures, _require_all_reports(storm, wrong)


def _first_incident(storm: KeyStorm, mishap: Mishap, kind: str = "") -> str:
    """Which token showed it first, to stand behind a finding; the pack has more of it."""
    for one in storm.incidents:
        if one.mishap is mishap and one.kind.startswith(kind):
            return f"; process {one.member}, {one.kind}: {one.token[:_TOKEN_SHOWN] or '(a valid token)'}"
    return ""


def _lives(storm: KeyStorm) -> _Finding:
    """No token ends a process of the verifier, and none is left without an answer."""
    lost = [one for one in storm.incidents if one.mishap is Mishap.NO_ANSWER]
    figures = {"calls": len(storm.calls), "processes": storm.processes, "without_answer": len(lost)}
    ends = ", ".join(sorted({f"process {one.member} {one.error}" for one in lost}))
    wrong = f"{ends}{_first_incident(storm, Mishap.NO_ANSWER)}" if lost else ""
    wrong = _require_all_reports(storm, wrong)
    if storm.calls.empty and not wrong:
        raise _Unjudgeable("nobody asked")
    return "every call comes back, and every process lives", figures, wrong


def _refusals(storm: KeyStorm) -> _Finding:
    """A bad token is refused by an exception that says so: no failure, and no mistake of a program."""
    rows = _of(storm, Token.UNKNOWN, Token.FORGED)
    errors = rows["error"][~rows["accepted"].astype(bool) & (rows["error"] != _HUNG)]
    wrong_errors = errors[[not is_refusal(error, storm.traits.refuses_with) for error in errors]]
    figures = {"refused": len(errors), "by_error": len(wrong_errors)}
    wrong = ""
    if len(wrong_errors):
        wrong = f"{len(wrong_errors)} met an error ({_count_errors(wrong_errors)})" + _first_incident(
            storm, Mishap.ERROR
        )
    return "a bad token is refused, and meets no error", figures, _require_all_reports(storm, wrong)


def _forged(kind: str, what: str) -> Callable[[KeyStorm], _Finding]:
    """The rule of one kind of forged tokens."""

    def rule(storm: KeyStorm) -> _Finding:
        if kind in storm.traits.unchecked:
            raise _NotTried(f"it accepts such tokens by design (unchecked has {kind!r})")
        rows = storm.calls[storm.calls["token"].astype(str).str.startswith(f"forged {kind} ")]
        accepted = rows["token"][rows["accepted"].astype(bool)]
        asked_for = {str(token).rpartition(" ")[2] for token in rows["token"]}
        figures = {"asked": len(rows), "accepted": len(accepted)}
        wrong = ""
        if len(accepted):
            algorithms = ", ".join(sorted({token.rpartition(" ")[2] for token in accepted} - {"-"}))
            of = f" of {algorithms}" if algorithms else ""
            wrong = f"{len(accepted)} accepted{of}{_first_incident(storm, Mishap.ACCEPTED, f'forged {kind} ')}"
        wrong = _require_all_reports(storm, wrong)
        left_out = sorted(({"-"} if kind == "form" else set(storm.traits.algorithms)) - asked_for)
        if left_out and not wrong:
            of = "" if kind == "form" else f" of {', '.join(left_out)}"
            raise _Unjudgeable(f"nobody asked with such a token{of}")
        return f"no token {what} is accepted", figures, wrong

    rule.__doc__ = f"No token {what} is accepted."
    return rule


def _start(storm: KeyStorm) -> _Finding:
    """Until the release the fleet fetches no more than one process would."""
    starts = [fetch.start_ns for fetch in storm.early]
    span_s = (max(starts) - min(starts)) / 1e9 if starts else 0.0
    limit = 1 + int(span_s / storm.verifier_settings.cool_down_s)
    figures = {"fetches_before_release": storm.before, "limit": limit}
    rule = f"at most {limit} fetches of the whole fleet before its release"
    wrong = f"{storm.before} fetches" if storm.before > limit else ""
    wrong = _require_all_reports(storm, wrong)
    if storm.calls.empty and not storm.before:
        raise _NotTried("nobody asked")
    return rule, figures, wrong


def _own_count(storm: KeyStorm) -> _Finding:
    """The fetches that the subject counts itself are those of the origin."""
    if storm.own is None:
        raise _NotTried("the subject does not count its fetches, or not every process reported")
    total = storm.before + len(storm.fetches)
    if not total and not storm.own:
        raise _NotTried("nobody fetched")
    figures = {"own_total": storm.own, "origin_total": total}
    wrong = f"it counts {storm.own}, the origin {total}" if storm.own != total else ""
    return "the subject counts as many fetches as the origin", figures, wrong


def _waits(storm: KeyStorm) -> _Finding:
    """While another process fetches its key, a valid token waits and is not refused."""
    if not storm.traits.waits:
        raise _NotTried("it is not promised that callers wait (waits)")
    rows = _of(storm, Token.ROTATED)
    refused = rows["error"][~rows["accepted"].astype(bool)]
    meanwhile = sum(
        bool(((rows["start_ns"] < end_ns) & (rows["end_ns"] > start_ns)).any()) for start_ns, end_ns in spans(storm)
    )
    figures = {"asked": len(rows), "refused": len(refused), "fetches_meanwhile": meanwhile}
    wrong = f"{len(refused)} refused ({_count_errors(refused)})" if len(refused) else ""
    wrong = _require_all_reports(storm, wrong)
    if not meanwhile and not wrong:
        raise _Unjudgeable("nobody asked while its key was fetched")
    return "no valid token is refused while its key is fetched", figures, wrong


def _known_key_ids(storm: KeyStorm) -> _Finding:
    """Tokens of known keys are served throughout."""
    rows = _of(storm, Token.KNOWN)
    refused = rows[~rows["accepted"].astype(bool)]
    figures: dict[str, Any] = {
        "asked": len(rows),
        "refused": len(refused),
        "success": round(1 - len(refused) / len(rows), 5),
        **_wait_figures(rows),
    }
    rule = f"every token of a known key is accepted, p99 at most {KNOWN_P99_LIMIT_S * 1e3:g} ms"
    cold = storm.before == 0 if storm.start is None else storm.start is Start.COLD
    if cold:  # the first key set has to come from somewhere: its fetch is everybody's wait
        rule = "every token of a valid key is accepted, though nothing was cached"
    wrong = ""
    if len(refused):
        wrong = f"{len(refused)} refused ({_count_errors(refused['error'])})"
    elif not cold and figures["wait_p99_ms"] > KNOWN_P99_LIMIT_S * 1e3:
        wrong = f"p99 {figures['wait_p99_ms']} ms"
    return rule, figures, _require_all_reports(storm, wrong)


def _follower_wait(storm: KeyStorm) -> _Finding:
    """A process waits for the fetch of another no longer than the wait timeout."""
    rows = _of(storm, Token.UNKNOWN)
    wait_timeout_s = storm.verifier_settings.wait_timeout_s
    limit_s = wait_timeout_s + SCHEDULING_S
    longer = int(((rows["end_ns"] - rows["start_ns"]) / 1e9 > limit_s).sum())
    leaders = len(storm.fetches)
    figures = {**_wait_figures(rows), "longer_than_wait_timeout": longer, "fetches": leaders, "limit_s": limit_s}
    rule = f"nobody but those who fetch waits longer than {wait_timeout_s:g} s (and {SCHEDULING_S:g} s of room)"
    return (
        rule,
        figures,
        _require_all_reports(storm, f"{longer} waited longer, {leaders} fetched" if longer > leaders else ""),
    )


def _rotation(storm: KeyStorm) -> _Finding:
    """A new valid key is accepted after one fetch; where a cool-down is running, after its end and one fetch."""
    rows = _of(storm, Token.ROTATED)
    rotation = storm.mark("rotation")
    if rotation is None:
        raise _Unjudgeable("no key was rotated")
    fetch_s = max(((end - start) / 1e9 for start, end in spans(storm)), default=0.0)
    over = storm.start is Start.CACHED and rotation.at_ns <= storm.released_ns  # no cool-down holds a fetch back
    limit_s = (0.0 if over else storm.verifier_settings.cool_down_s) + fetch_s + SCHEDULING_S
    refused = rows[~rows["accepted"].astype(bool)]
    window_s = max(0.0, (float(refused["end_ns"].max()) - rotation.at_ns) / 1e9) if len(refused) else 0.0
    last = rows.sort_values("start_ns").groupby("member")["accepted"].last().astype(bool)
    cut_off = not last.all()
    accepting = int(rows[rows["accepted"].astype(bool)]["member"].nunique())
    figures = {
        "asked": len(rows),
        "false_rejects": len(refused),
        "window_at_least_s" if cut_off else "window_s": round(window_s, 3),
        "limit_s": round(limit_s, 3),
        "processes_that_accept": accepting,
        **_wait_figures(rows),
    }
    parts = "fetch and room" if over else "cool-down, fetch and room"
    rule = f"after a rotation a valid token is refused for at most {limit_s:.2f} s ({parts}), then accepted"
    wrong = ""
    if window_s > limit_s:
        least = "at least " if cut_off else ""
        end = f", when the storm ended, by {(~last).sum()} of {len(last)} processes" if cut_off else ""
        wrong = f"still refused after {least}{window_s:.2f} s{end}"
    elif accepting < rows["member"].nunique():
        wrong = f"only {accepting} of {rows['member'].nunique()} processes came to accept it"
    return rule, figures, _require_all_reports(storm, wrong)


def _outage(storm: KeyStorm) -> list[Fetch]:
    """The fetches of the outage: all that failed before the first good one."""
    found = []
    for fetch in storm.fetches:
        if fetch.is_good:
            break
        found.append(fetch)
    if len(found) < _FAILURES_MIN:
        raise _Unjudgeable(f"only {len(found)} fetches failed in a row; a schedule shows in {_FAILURES_MIN} at least")
    return found


def _backoff(storm: KeyStorm) -> _Finding:
    """After failures the fleet waits as its schedule says."""
    verifier_settings = storm.verifier_settings
    outage = len(_outage(storm))
    gaps = gaps_s(storm)[: outage - 1]
    due = [verifier_settings.backoff_s(failures) for failures in range(1, outage)]
    latest = [at_least * (1 + verifier_settings.jitter) + 2 * SCHEDULING_S for at_least in due]
    figures = {
        "fetches_in_outage": outage,
        "gaps_s": [round(gap, 3) for gap in gaps[:20]],
        "at_least_s": due[:20],
        "cap_s": verifier_settings.backoff_cap_s,
    }
    early = [
        f"{gap:.3f} s instead of {at_least:g} s"
        for gap, at_least in zip(gaps, due, strict=True)
        if gap < at_least * CLOCKS
    ]
    late = [f"{gap:.3f} s, at most {limit:.2f} s" for gap, limit in zip(gaps, latest, strict=True) if gap > limit]
    rule = (
        f"in an outage the fleet waits {verifier_settings.backoff_base_s:g} s, then twice as long each time, "
        f"up to {verifier_settings.backoff_cap_s:g} s, and does not give up"
    )
    if early:
        return rule, figures, f"came too early: {early[0]}"
    return rule, figures, _not_done(storm, f"came too late: {late[0]}") if late else ""


def _jitter(storm: KeyStorm) -> _Finding:
    """In an outage the waits are longer than the schedule by a random share."""
    verifier_settings = storm.verifier_settings
    if not verifier_settings.jitter:
        raise _NotTried("no jitter is promised")
    outage = len(_outage(storm))
    waits = [(one.failures, one.wait_s, 0.0) for one in storm.decisions if one.failures]
    source = "decided" if len(waits) >= LEAST_DELAYS else "seen"
    if source == "seen":
        lags = [LAG_S + _asked_before_s(storm, fetch) for fetch in storm.fetches[1:outage]]
        waits = [(place, *seen) for place, seen in enumerate(zip(gaps_s(storm), lags, strict=False), 1)]
    delays = [
        Delay(wait_s, verifier_settings.backoff_s(place), lag_s)
        for place, wait_s, lag_s in waits
        if verifier_settings.stretches(place)
    ]
    if len(delays) < 2:
        cool_downs = len(waits) - len(delays)
        raise _NotTried(f"{cool_downs} of {len(waits)} waits are as long as the cool-down, which has no jitter")
    figures = {
        "source": source,
        "stretch": [round(delay.stretch, 4) for delay in delays[:20]],
        "spread": round(spread(delays), 4),
        "declared": verifier_settings.jitter,
    }
    rule = "the waits of an outage are not all longer than the schedule by the same share"
    alike = find_alike_gaps if source == "seen" else find_alike_decisions
    return rule, figures, alike(delays, verifier_settings.jitter)


def _asked_before_s(storm: KeyStorm, fetch: Fetch) -> float:
    """How long a caller had been waiting for an answer when the fetch began, seconds: the lag of a busy machine.

    A caller that had waited for longer than ``SCHEDULING_S`` was waiting for the end of the backoff.
    """
    start_ns, end_ns = storm.calls["start_ns"], storm.calls["end_ns"]
    recent = start_ns.between(fetch.start_ns - SCHEDULING_S * 1e9, fetch.start_ns) & (end_ns >= fetch.start_ns)
    return (fetch.start_ns - int(start_ns[recent].min())) / 1e9 if recent.any() else 0.0


def _recovery(storm: KeyStorm) -> _Finding:
    """When the origin is back, the fleet fetches and serves again."""
    back = storm.mark("origin ok")
    if back is None:
        raise _Unjudgeable("the origin did not come back")
    verifier_settings = storm.verifier_settings
    limit_s = verifier_settings.backoff_cap_s * (1 + verifier_settings.jitter) + 2 * SCHEDULING_S
    good = next((fetch for fetch in storm.fetches if fetch.is_good), None)
    rows = _of(storm, Token.KNOWN)
    after = rows[rows["start_ns"] > (storm.ended_ns if good is None else good.end_ns or good.start_ns)]
    served = int(after[after["accepted"].astype(bool)]["member"].nunique())
    recovery_s = None if good is None else (good.start_ns - back.at_ns) / 1e9
    figures = {
        "recovery_s": None if recovery_s is None else round(recovery_s, 3),
        "limit_s": limit_s,
        "processes_that_serve_after": served,
    }
    rule = f"the fleet fetches again within {limit_s:.2f} s of the origin's return, and every process serves known keys"
    if recovery_s is None or recovery_s > limit_s:
        left_s = (storm.ended_ns - back.at_ns) / 1e9
        late = f"no fetch for at least {left_s:.2f} s" if recovery_s is None else f"fetched after {recovery_s:.2f} s"
        return rule, figures, _not_done(storm, late)
    all_serve = served == rows["member"].nunique()
    return rule, figures, _require_all_reports(storm, "" if all_serve else f"only {served} processes serve")


def _require_store(storm: KeyStorm) -> None:
    """A fleet that never asked its store has not shown what it does without."""
    if storm.connections is None:
        raise _NotTried("no process opened a connection to the shared store")


def _store_wait(storm: KeyStorm) -> _Finding:
    """While the shared store is away, no token waits longer than for another's fetch and for its own."""
    begins, ends = storm.mark("store away"), storm.mark("store back")
    if begins is None or ends is None:
        raise _Unjudgeable("the store was not away")
    _require_store(storm)
    rows = _of(storm, Token.KNOWN, Token.UNKNOWN, Token.ROTATED)
    meanwhile = rows[(rows["end_ns"] >= begins.at_ns) & (rows["start_ns"] <= ends.at_ns)]
    settings = storm.verifier_settings
    limit_s = settings.wait_timeout_s + settings.fetch_timeout_s + SCHEDULING_S
    longer = int(((meanwhile["end_ns"] - meanwhile["start_ns"]) / 1e9 > limit_s).sum())
    rule = f"while the shared store is away, no token waits longer than {limit_s:g} s"
    if meanwhile.empty:
        _not_done(storm, "")
        raise _Unjudgeable("nobody asked while the store was away")
    figures = {**_wait_figures(meanwhile), "asked": len(meanwhile), "longer": longer, "limit_s": limit_s}
    return rule, figures, _require_all_reports(storm, f"{longer} waited longer" if longer else "")


def _store_back(storm: KeyStorm) -> _Finding:
    """When the shared store is back, every process comes to accept a key that is new since."""
    back = storm.mark("store back")
    if back is None:
        raise _Unjudgeable("the store did not come back")
    _require_store(storm)
    rows = _of(storm, Token.ROTATED)
    settings = storm.verifier_settings
    fetch_s = max(((end - start) / 1e9 for start, end in spans(storm)), default=0.0)
    limit_s = settings.cool_down_s + settings.wait_timeout_s + settings.fetch_timeout_s + fetch_s + 2 * SCHEDULING_S
    firsts = rows[rows["accepted"].astype(bool)].groupby("member")["end_ns"].min()
    late = int(((firsts - back.at_ns) / 1e9 > limit_s).sum())
    never = int(rows["member"].nunique()) - len(firsts)
    figures = {
        "processes": int(rows["member"].nunique()),
        "accepting": len(firsts),
        "latest_s": round((float(firsts.max()) - back.at_ns) / 1e9, 3) if len(firsts) else None,
        "limit_s": round(limit_s, 3),
    }
    rule = f"within {limit_s:.2f} s of the store's return every process accepts the new key"
    wrong = [f"{never} processes never did"] if never else []
    wrong += [f"{late} did later"] if late else []
    return rule, figures, _require_all_reports(storm, ", ".join(wrong))


def _takeover(storm: KeyStorm) -> _Finding:
    """After the process that fetches is killed or stopped, another fetches in its place."""
    leader_fault = storm.mark("kill") or storm.mark("stop")
    if leader_fault is None:
        raise _Unjudgeable("no process was caught in a fetch")
    killed = leader_fault.what == "kill"
    limit_s = TAKEOVER_S if killed else storm.verifier_settings.leader_timeout_s + TAKEOVER_S
    after = next((fetch for fetch in storm.fetches if fetch.start_ns > leader_fault.at_ns), None)
    resumed = storm.mark("continue")
    in_time = after is not None and (resumed is None or after.start_ns <= resumed.at_ns)
    takeover_s = (after.start_ns - leader_fault.at_ns) / 1e9 if after is not None and in_time else None
    bound = (
        ""
        if killed
        else f" ({storm.verifier_settings.leader_timeout_s:g} s of its session's timeout and {TAKEOVER_S:g} s)"
    )
    rule = (
        f"another process fetches within {limit_s:g} s{bound} of the leader being {'killed' if killed else 'stopped'}"
    )
    figures = {"takeover_s": None if takeover_s is None else round(takeover_s, 3), "limit_s": limit_s}
    if takeover_s is None:
        return rule, figures, _not_done(storm, "nobody took over")
    return rule, figures, _not_done(storm, f"{takeover_s:.2f} s") if takeover_s > limit_s else ""


def _connections(storm: KeyStorm) -> _Finding:
    """A process opens one connection to the database."""
    if storm.connections is None:
        raise _NotTried("the verifier does not use the rig's database")
    if not storm.connections.opened:
        raise _NotTried("no process opened a connection")
    limit = storm.processes + SPARE_CONNECTIONS
    waiting = max((holding.waiting for holding in storm.holdings), default=0)
    figures = {
        "opened": storm.connections.opened,
        "most_at_once": storm.connections.most,
        "limit": limit,
        "most_lock_waits": waiting,
    }
    rule = f"at most {limit} connections are opened by {storm.processes} processes"
    wrong = f"{storm.connections.opened} were opened" if storm.connections.opened > limit else ""
    return rule, figures, _require_all_reports(storm, wrong)


def _ledger(storm: KeyStorm) -> _Finding:
    """The origin and the recording proxy count the same number of fetches."""
    if not storm.proxy_fetches:
        _require_fetches(storm)
    total = storm.before + len(storm.fetches)
    figures = {
        "origin": len(storm.fetches),
        "proxy_fetches": len(storm.proxy_fetches),
        "own_total": storm.own,
        "origin_total": total,
    }
    differ = len(storm.fetches) != len(storm.proxy_fetches)
    return "the origin and the recording proxy count alike", figures, "they do not" if differ else ""


_RULES: Mapping[str, Callable[[KeyStorm], _Finding]] = {
    "single-flight": _single_flight,
    "floor": _cool_down,
    "amplification": _amplification,
    "false-accepts": _false_accepts,
    "lives": _lives,
    "refusals": _refusals,
    **{f"forged-{kind}": _forged(kind, what) for kind, what in FORGED.items()},
    "start": _start,
    "known-kids": _known_key_ids,
    "follower-wait": _follower_wait,
    "rotation": _rotation,
    "waits": _waits,
    "backoff": _backoff,
    "jitter": _jitter,
    "recovery": _recovery,
    "takeover": _takeover,
    "store-wait": _store_wait,
    "store-back": _store_back,
    "connections": _connections,
    "ledger": _ledger,
    "own-count": _own_count,
}
GATES = tuple(_RULES)
KINDS = tuple(
    GateKind(f"storm.*.{name}", Kind.STORM, (rule.__doc__ or "").strip().removesuffix("."))
    for name, rule in _RULES.items()
)


@emits(RAN, *KINDS)
def check_key_storms(case: Case) -> list[Gate]:
    """Every gate of every case of the key storm that is not for display only."""
    not_run = [not_run_gate(report) for report in case.storms if report.storm == UNKNOWN_KID]
    return not_run + [gate for storm in case.key_storms if not storm.display_only for gate in storm_gates(storm)]


def figures_of(storm: KeyStorm) -> dict[str, Any]:
    """The figures of one case for ``--json`` and tables."""
    if storm.not_run:
        return {"not_run": storm.not_run}
    figures: dict[str, Any] = {
        "fetches": len(storm.fetches),
        "fetches_before_release": storm.before,
        "proxy_fetches": len(storm.proxy_fetches),
        "own_fetches": storm.own,
        "expected_fetches": expected_fetches(storm),
        "amplification": round(amplification(storm), 3),
        "most_in_a_cool_down": most_in_a_cool_down(storm),
        "most_at_once": most_at_once(storm),
        "least_gap_s": round(min(gaps_s(storm)), 3) if len(storm.fetches) > 1 else None,
        "storm_s": round(duration_s(storm), 3),
        "skew_ms": None if storm.skew_ns is None else round(storm.skew_ns / 1e6, 3),
        "connections_opened": storm.connections.opened if storm.connections else None,
    }
    figures["of_gates"] = {gate.id.rpartition(".")[2]: dict(gate.figures) for gate in storm_gates(storm)}
    return figures
