"""What the origin counted: how many fetches there were, how many at once, and how far apart."""

from __future__ import annotations

from rig.checks.key_storms.figures import (
    CLOCKS,
    amplification,
    expected_fetches,
    gaps_s,
    most_at_once,
    most_in_a_cool_down,
    spans,
)
from rig.checks.key_storms.findings import (
    Finding,
    NotTried,
    blame_for_no_fetch,
    require_all_reports,
    require_fetches,
    require_reports,
)
from rig.evidence.key_case import Start, Token
from rig.evidence.key_storm import KeyStorm
from rig.text import counted

SPARE_CONNECTIONS = 4


def judge_single_flight(storm: KeyStorm) -> Finding:
    """At most one fetch at a time in the whole fleet."""
    most = most_at_once(storm)
    figures = {"most_at_once": most, "fetches": len(storm.fetches)}
    wrong = blame_for_no_fetch(storm, "nobody fetched") if not storm.fetches else f"{most} at once" if most > 1 else ""
    return "at most one fetch at a time, and at least one", figures, wrong


def judge_cool_down(storm: KeyStorm) -> Finding:
    """From the end of a fetch to the start of the next at least the cool-down passes."""
    require_fetches(storm)
    cool_down_s = storm.verifier_settings.cool_down_s
    least_s = min(gaps_s(storm), default=None)
    if least_s is None and not _was_asked_after_fetch(storm):
        raise NotTried("nobody asked again after a fetch, so there was nothing to hold back")
    figures = {"least_gap_s": None if least_s is None else round(least_s, 3), "cool_down_s": cool_down_s}
    short = least_s is not None and least_s < cool_down_s * CLOCKS
    rule = f"from the end of a fetch to the start of the next, at least {cool_down_s:g} s"
    return rule, figures, _describe_gap(least_s) if least_s is not None and short else ""


def _describe_gap(gap_s: float) -> str:
    when = f"{gap_s:.3f} s after another had ended" if gap_s >= 0 else f"{-gap_s:.3f} s before another had ended"
    return f"a fetch began {when}"


def _was_asked_after_fetch(storm: KeyStorm) -> bool:
    """Whether somebody asked for a new key after the first fetch: a fleet without a cool-down fetches then."""
    ended_ns = [end_ns for _, end_ns in spans(storm)]
    new = storm.calls["token"].isin([Token.UNKNOWN.value, Token.ROTATED.value])
    return bool(ended_ns) and bool((storm.calls["start_ns"][new] >= ended_ns[0]).any())


def judge_amplification(storm: KeyStorm) -> Finding:
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
    least = "" if storm.necessary == 0 else ", and at least one"
    most = expected_fetches(storm)
    rule = f"at most {counted(most, 'fetch')} in all, one in any {cool_down_s:g} s{least}"
    if not storm.fetches and storm.necessary != 0:
        return rule, figures, blame_for_no_fetch(storm, f"nobody fetched: {_consequence(storm)}")
    if in_a_cool_down > 1 or amplification(storm) > 1:
        return rule, figures, f"{counted(len(storm.fetches), 'fetch')}, {in_a_cool_down} within one cool-down"
    return rule, figures, ""


def _consequence(storm: KeyStorm) -> str:
    if storm.start is not Start.EXPIRED:
        return "a new key would never be found"
    return (
        "keys that the issuer has withdrawn would be accepted until an unknown key id comes; if old keys are kept by "
        "design, write expires = false into promises"
    )


@require_all_reports
def judge_start(storm: KeyStorm) -> Finding:
    """Until the release the fleet fetches no more than one process would."""
    starts = [fetch.start_ns for fetch in storm.early]
    span_s = (max(starts) - min(starts)) / 1e9 if starts else 0.0
    limit = 1 + int(span_s / storm.verifier_settings.cool_down_s)
    figures = {"fetches_before_release": storm.before, "limit": limit}
    rule = f"at most {counted(limit, 'fetch')} of the whole fleet before its release"
    wrong = counted(storm.before, "fetch") if storm.before > limit else ""
    if storm.calls.empty and not storm.before:
        require_reports(storm)
        raise NotTried("nobody asked")
    return rule, figures, wrong


def judge_own_count(storm: KeyStorm) -> Finding:
    """The fetches that the subject counts itself are those of the origin."""
    if storm.own is None:
        raise NotTried("the subject does not count its fetches, or not every process reported")
    total = storm.before + len(storm.fetches)
    if not total and not storm.own:
        raise NotTried("nobody fetched")
    figures = {"own_total": storm.own, "origin_total": total}
    wrong = f"it counts {storm.own}, the origin {total}" if storm.own != total else ""
    return "the subject counts as many fetches as the origin", figures, wrong


def judge_ledger(storm: KeyStorm) -> Finding:
    """The origin and the recording proxy count the same number of fetches."""
    if not storm.proxy_fetches:
        require_fetches(storm)
    total = storm.before + len(storm.fetches)
    figures = {
        "origin": len(storm.fetches),
        "proxy_fetches": len(storm.proxy_fetches),
        "own_total": storm.own,
        "origin_total": total,
    }
    differ = len(storm.fetches) != len(storm.proxy_fetches)
    return "the origin and the recording proxy count alike", figures, "they do not" if differ else ""


@require_all_reports
def judge_connections(storm: KeyStorm) -> Finding:
    """A process opens one connection to the database."""
    if storm.connections is None:
        raise NotTried("the verifier does not use the rig's database")
    if not storm.connections.opened:
        raise NotTried("no process opened a connection")
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
    return rule, figures, wrong
