"""What the fleet does while something is broken, and afterwards: the origin, the shared store, the leader."""

from __future__ import annotations

from collections.abc import Sequence

from rig.checks.key_storms.figures import CLOCKS, gaps_s, longest_fetch_s
from rig.checks.key_storms.findings import (
    SCHEDULING_S,
    Finding,
    NotTried,
    Unjudgeable,
    count_longer,
    find_accepted_calls,
    find_calls,
    require_all_reports,
    require_reports,
    wait_figures,
)
from rig.checks.key_storms.jitter import LAG_S, LEAST_DELAYS, Delay, find_alike_decisions, find_alike_gaps, spread
from rig.evidence.key_case import Token
from rig.evidence.key_storm import Fetch, KeyStorm
from rig.text import counted

TAKEOVER_S = 1.0
_FAILURES_MIN = 3


def _outage(storm: KeyStorm) -> list[Fetch]:
    """The fetches of the outage: all that failed before the first good one."""
    found = []
    for fetch in storm.fetches:
        if fetch.is_good:
            break
        found.append(fetch)
    if len(found) < _FAILURES_MIN:
        raise Unjudgeable(
            f"only {counted(len(found), 'fetch')} failed in a row; a schedule shows in {_FAILURES_MIN} at least"
        )
    return found


def judge_backoff(storm: KeyStorm) -> Finding:
    """After failures the fleet waits as its schedule says."""
    settings = storm.verifier_settings
    outage = len(_outage(storm))
    gaps = gaps_s(storm)[: outage - 1]
    due = [settings.backoff_s(failures) for failures in range(1, outage)]
    latest = [at_least * (1 + settings.jitter) + 2 * SCHEDULING_S for at_least in due]
    figures = {
        "fetches_in_outage": outage,
        "gaps_s": [round(gap, 3) for gap in gaps[:20]],
        "at_least_s": due[:20],
        "cap_s": settings.backoff_cap_s,
    }
    early = [
        f"{gap:.3f} s instead of {at_least:g} s"
        for gap, at_least in zip(gaps, due, strict=True)
        if gap < at_least * CLOCKS
    ]
    late = [f"{gap:.3f} s, at most {limit:.2f} s" for gap, limit in zip(gaps, latest, strict=True) if gap > limit]
    rule = (
        f"in an outage the fleet waits {settings.backoff_base_s:g} s, then twice as long each time, "
        f"up to {settings.backoff_cap_s:g} s, and does not give up"
    )
    if early:
        return rule, figures, f"came too early: {early[0]}"
    return rule, figures, require_reports(storm, f"came too late: {late[0]}") if late else ""


def judge_jitter(storm: KeyStorm) -> Finding:
    """In an outage the waits are longer than the schedule by a random share."""
    settings = storm.verifier_settings
    if not settings.jitter:
        raise NotTried("no jitter is promised")
    outage = len(_outage(storm))
    waits = [(one.failures, one.wait_s, 0.0) for one in storm.decisions if one.failures]
    source = "decided" if len(waits) >= LEAST_DELAYS else "seen"
    if source == "seen":
        lags = [LAG_S + _asked_before_s(storm, fetch) for fetch in storm.fetches[1:outage]]
        waits = [(place, *seen) for place, seen in enumerate(zip(gaps_s(storm), lags, strict=False), 1)]
    delays = [
        Delay(wait_s, settings.backoff_s(place), lag_s) for place, wait_s, lag_s in waits if settings.stretches(place)
    ]
    if len(delays) < 2:
        cool_downs = len(waits) - len(delays)
        raise NotTried(f"{cool_downs} of {len(waits)} waits are as long as the cool-down, which has no jitter")
    figures = {
        "source": source,
        "stretch": [round(delay.stretch, 4) for delay in delays[:20]],
        "spread": round(spread(delays), 4),
        "declared": settings.jitter,
    }
    rule = "the waits of an outage are not all longer than the schedule by the same share"
    if source == "seen":
        return rule, figures, find_alike_gaps(delays, settings.jitter)
    broken = _find_broken_decision(gaps_s(storm)[: outage - 1], [wait_s for _, wait_s, _ in waits])
    return rule, figures, broken or find_alike_decisions(delays, settings.jitter)


def _find_broken_decision(gaps: Sequence[float], decided: Sequence[float]) -> str:
    """Which wait the subject wrote down and did not keep; empty where there is none. Its word alone shows nothing."""
    for gap_s, wait_s in zip(gaps, decided, strict=False):
        if gap_s < wait_s * CLOCKS - LAG_S:
            return f"it wrote down a wait of {wait_s:.3f} s, and fetched after {gap_s:.3f} s"
    return ""


def _asked_before_s(storm: KeyStorm, fetch: Fetch) -> float:
    """How long a caller had been waiting for an answer when the fetch began, seconds: the lag of a busy machine.

    A caller that had waited for longer than ``SCHEDULING_S`` was waiting for the end of the backoff.
    """
    start_ns, end_ns = storm.calls["start_ns"], storm.calls["end_ns"]
    recent = start_ns.between(fetch.start_ns - SCHEDULING_S * 1e9, fetch.start_ns) & (end_ns >= fetch.start_ns)
    return (fetch.start_ns - int(start_ns[recent].min())) / 1e9 if recent.any() else 0.0


@require_all_reports
def judge_recovery(storm: KeyStorm) -> Finding:
    """When the origin is back, the fleet fetches and serves again."""
    back = storm.mark("origin ok")
    if back is None:
        raise Unjudgeable("the origin did not come back")
    settings = storm.verifier_settings
    limit_s = settings.backoff_cap_s * (1 + settings.jitter) + 2 * SCHEDULING_S
    good = next((fetch for fetch in storm.fetches if fetch.is_good), None)
    rows = find_calls(storm, Token.KNOWN)
    after = rows[rows["start_ns"] > (storm.ended_ns if good is None else good.end_ns or good.start_ns)]
    serving = int(find_accepted_calls(after)["member"].nunique())
    recovery_s = None if good is None else (good.start_ns - back.at_ns) / 1e9
    figures = {
        "recovery_s": None if recovery_s is None else round(recovery_s, 3),
        "limit_s": limit_s,
        "processes_that_serve_after": serving,
    }
    rule = f"the fleet fetches again within {limit_s:.2f} s of the origin's return, and every process serves known keys"
    if recovery_s is None or recovery_s > limit_s:
        left_s = (storm.ended_ns - back.at_ns) / 1e9
        late = f"no fetch for at least {left_s:.2f} s" if recovery_s is None else f"fetched after {recovery_s:.2f} s"
        return rule, figures, require_reports(storm, late)
    all_serve = serving == rows["member"].nunique()
    return rule, figures, "" if all_serve else f"only {counted(serving, 'process serves', 'processes serve')}"


def _require_store(storm: KeyStorm) -> None:
    """A fleet that never asked its store has not shown what it does without."""
    if storm.connections is None:
        raise NotTried("no process opened a connection to the shared store")


@require_all_reports
def judge_store_wait(storm: KeyStorm) -> Finding:
    """While the shared store is away, no token waits longer than for another's fetch and for its own."""
    begins, ends = storm.mark("store away"), storm.mark("store back")
    if begins is None or ends is None:
        raise Unjudgeable("the store was not away")
    _require_store(storm)
    rows = find_calls(storm, Token.KNOWN, Token.UNKNOWN, Token.ROTATED)
    meanwhile = rows[(rows["end_ns"] >= begins.at_ns) & (rows["start_ns"] <= ends.at_ns)]
    settings = storm.verifier_settings
    limit_s = settings.wait_timeout_s + settings.fetch_timeout_s + SCHEDULING_S
    longer = count_longer(meanwhile, limit_s)
    rule = f"while the shared store is away, no token waits longer than {limit_s:g} s"
    if meanwhile.empty:
        require_reports(storm)
        raise Unjudgeable("nobody asked while the store was away")
    figures = {**wait_figures(meanwhile), "asked": len(meanwhile), "longer": longer, "limit_s": limit_s}
    return rule, figures, f"{longer} waited longer" if longer else ""


@require_all_reports
def judge_store_back(storm: KeyStorm) -> Finding:
    """When the shared store is back, every process comes to accept a key that is new since."""
    back = storm.mark("store back")
    if back is None:
        raise Unjudgeable("the store did not come back")
    _require_store(storm)
    rows = find_calls(storm, Token.ROTATED)
    settings = storm.verifier_settings
    waits_s = settings.cool_down_s + settings.wait_timeout_s + settings.fetch_timeout_s
    limit_s = waits_s + longest_fetch_s(storm) + 2 * SCHEDULING_S
    firsts = find_accepted_calls(rows).groupby("member")["end_ns"].min()
    late = int(((firsts - back.at_ns) / 1e9 > limit_s).sum())
    never = int(rows["member"].nunique()) - len(firsts)
    figures = {
        "processes": int(rows["member"].nunique()),
        "accepting": len(firsts),
        "latest_s": round((float(firsts.max()) - back.at_ns) / 1e9, 3) if len(firsts) else None,
        "limit_s": round(limit_s, 3),
    }
    rule = f"within {limit_s:.2f} s of the store's return every process accepts the new key"
    wrong = [f"{counted(never, 'process')} never did"] if never else []
    wrong += [f"{late} did later"] if late else []
    return rule, figures, ", ".join(wrong)


def judge_takeover(storm: KeyStorm) -> Finding:
    """After the process that fetches is killed or stopped, another fetches in its place."""
    leader_fault = storm.mark("kill") or storm.mark("stop")
    if leader_fault is None:
        raise Unjudgeable("no process was caught in a fetch")
    killed, timeout_s = leader_fault.what == "kill", storm.verifier_settings.leader_timeout_s
    limit_s = TAKEOVER_S if killed else timeout_s + TAKEOVER_S
    after = next((fetch for fetch in storm.fetches if fetch.start_ns > leader_fault.at_ns), None)
    resumed = storm.mark("continue")
    in_time = after is not None and (resumed is None or after.start_ns <= resumed.at_ns)
    takeover_s = (after.start_ns - leader_fault.at_ns) / 1e9 if after is not None and in_time else None
    bound = "" if killed else f" ({timeout_s:g} s of its session's timeout and {TAKEOVER_S:g} s)"
    done = "killed" if killed else "stopped"
    rule = f"another process fetches within {limit_s:g} s{bound} of the leader being {done}"
    figures = {"takeover_s": None if takeover_s is None else round(takeover_s, 3), "limit_s": limit_s}
    if takeover_s is None:
        return rule, figures, require_reports(storm, "nobody took over")
    return rule, figures, require_reports(storm, f"{takeover_s:.2f} s") if takeover_s > limit_s else ""
