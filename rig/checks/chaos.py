"""``S11.…``: every event is stored exactly once and whole, whatever broke meanwhile, and the service comes back.

Attempts are excused from the strike of a fault until its healing and the timeout of a request. What a deploy or the
fault of one process may cost is said by ``graceful`` and ``contained``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rig.checks.aftermath import (
    Aftermath,
    aftermaths,
    attempts_of,
    describe_neighbours,
    first_acknowledgements,
    grace_s,
    waits_of,
    was_broken,
)
from rig.checks.gates import GateKind, Kind, emits
from rig.checks.rows import FAULTS as ROW_FAULTS
from rig.diagnose.strangers import Span
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.chaos import DEPLOYS, OF_ONE_PROCESS, S11, ChaosReport, FaultRecord
from rig.evidence.gate import Gate
from rig.evidence.truth import DiscrepancyKind
from rig.limits import ASK_AGAIN
from rig.model import Outcome
from rig.text import counted

_NAMED = 5
_YOUNG_NS = 20_000_000
"""A request that is lost so soon may have crossed the closing of an idle connection."""
_ENOUGH = 10
"""So many attempts during a fault show whether anybody still serves."""
_RELAY_ADDED_MOST_MS = 1.0
"""A relay that adds more would show in what the gates measure. It adds 0.02 to 0.1 ms."""

FAULTS = GateKind("S11.faults", Kind.INSTRUMENT, "every fault that was begun struck, and was healed")
RELAY = GateKind(
    "S11.relay",
    Kind.INSTRUMENT,
    f"the rig's relay delays an answer by {_RELAY_ADDED_MOST_MS:g} ms at most, at the median",
)
EXACTLY_ONCE = GateKind(
    "S11.exactly_once",
    Kind.TRUTH,
    "each event that was acknowledged, after whatever attempts, has exactly one row, and it holds what was sent",
)
_ONCE_WITHOUT_CONTENT = (
    "each event that was acknowledged, after whatever attempts, has exactly one row; what it holds was not compared"
)
DURABLE = GateKind("S11.durable", Kind.TRUTH, "what was acknowledged before a crash is there after it")
DELIVERED = GateKind(
    "S11.delivered", Kind.SERVICE, "once all is healed, every event is acknowledged within the schedule"
)
RECOVERY = GateKind(
    "S11.recovery",
    Kind.SERVICE,
    "after each healing good answers come again, within the profile's time where it has one",
)
BOUNDED = GateKind("S11.bounded", Kind.SERVICE, "while nothing is broken no request waits in vain until its timeout")
GRACEFUL = GateKind("S11.graceful", Kind.SERVICE, "a deploy fails no request that the service has taken")
CONTAINED = GateKind("S11.contained", Kind.SERVICE, "while one process is broken the others go on and answer well")
CLEAN = GateKind(
    "S11.clean",
    Kind.SERVICE,
    "afterwards no more sessions are at work, in a transaction or waiting than before; each dead letter is explained",
)
_ALL = (FAULTS, RELAY, EXACTLY_ONCE, DURABLE, DELIVERED, RECOVERY, BOUNDED, GRACEFUL, CONTAINED, CLEAN)


@emits(*_ALL)
def check_chaos(case: Case) -> list[Gate]:
    """All gates of S11; none where it was not run."""
    runs = case.scenario_runs_of(S11)
    if not runs:
        return [FAULTS.not_run(case.left_out[S11])] if S11 in case.left_out else []
    if not any(run.scenario.count for run in runs):
        return [kind.not_run("it had no event to send") for kind in _ALL]
    chaos = case.chaos
    if chaos is None:
        return [kind.decide({}, unproven="nobody wrote down which faults struck") for kind in _ALL]
    rows, missing = attempts_of(case), describe_missing_reports(runs)
    gates = [
        _exactly_once(case, rows, missing),
        _durable(case, chaos, rows, missing),
        _delivery_gate(case, chaos, rows, missing),
        _recovery(case, aftermaths(case)),
        _bound_gate(case, rows, missing),
        _graceful(case, chaos, rows),
        _containment_gate(chaos, rows),
        _clean(case, chaos),
    ]
    return [_faults(chaos), _relay_gate(chaos), *gates]


def _faults(chaos: ChaosReport) -> Gate:
    struck, skipped = chaos.struck, [record for record in chaos.records if record.skipped]
    figures: dict[str, Any] = {
        "struck": len(struck),
        **Counter(record.fault for record in struck),
        "no_time_left": len(chaos.schedule.faults) - len(chaos.records),
        "not_run": dict(chaos.schedule.not_run),
    }
    parts = [f"{record.fault}: {record.skipped}" for record in skipped]
    parts += [f"{record.fault} was not healed" for record in struck if not record.healed_ns]
    parts += [f"{name}: {why}" for name, why in chaos.schedule.not_run.items() if name in chaos.schedule.asked]
    if not struck and not skipped:
        return FAULTS.not_run("; ".join(parts) or "there is no fault that the rig has a hand on", figures)
    return FAULTS.decide(figures, unproven="; ".join(parts[:_NAMED]))


def _relay_gate(chaos: ChaosReport) -> Gate:
    cost = chaos.relay
    if cost is None:
        return RELAY.decide({}, unproven="what the relay costs was not measured: it did not answer")
    added_ms = cost.added_p50_ms
    figures = {
        "added_p50_ms": added_ms,
        "added_p99_ms": cost.added_p99_ms,
        "cpu_us_per_exchange": round(cost.cpu_us, 1),
        "exchanges": cost.exchanges,
        "limit_ms": _RELAY_ADDED_MOST_MS,
    }
    slow = f"the relay adds {added_ms:g} ms to each answer: end what else works on this machine, and run again"
    return RELAY.decide(figures, unproven=slow if added_ms > _RELAY_ADDED_MOST_MS else "")


def _exactly_once(case: Case, rows: pd.DataFrame, missing: str) -> Gate:
    if case.truth is None:
        return EXACTLY_ONCE.decide({}, unproven=NOT_READ)
    groups = [group for group in case.truth.groups if group.scenario == S11]
    content = [each for each in case.truth.content or () if each.scenario == S11]
    altered = sum(each.altered for each in content)
    counts = Counter[str]({DiscrepancyKind.ALTERED.value: altered} if altered else {})
    for group in groups:
        counts.update({kind.value: group.discrepancies.get(kind, 0) for kind in ROW_FAULTS})
    found = {kind: count for kind, count in counts.items() if count}
    acknowledged = int(rows.loc[rows["outcome"] == Outcome.ACKNOWLEDGED, "seq"].nunique())
    figures: dict[str, Any] = {
        "acknowledged": acknowledged,
        "canonical": sum(group.canonical for group in groups),
        "dead": sum(group.dead for group in groups),
        "lost": counts[DiscrepancyKind.LOST],
        "doubled": counts[DiscrepancyKind.DUPLICATED],
        "altered": altered,
        "compared": sum(each.compared for each in content),
        **found,
    }
    outside = [
        group
        for group in groups
        if not group.canonical_min <= group.canonical <= group.canonical_max
        or not group.dead_min <= group.dead <= group.dead_max
    ]
    wrong = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in found.items())
    if not wrong and outside:
        wrong = f"tenant {outside[0].tenant} has another number of rows than its events must leave"
    if wrong and case.truth is not None:
        named = [f"{key.kind} {key.key}" for key in case.truth.discrepancies if key.scenario == S11]
        figures["keys"] = named[:_NAMED]
    unproven = missing or ("" if acknowledged else "nothing was acknowledged, so nothing had to exist")
    rule = "" if figures["compared"] else _ONCE_WITHOUT_CONTENT
    return EXACTLY_ONCE.decide(figures, wrong=wrong, unproven=unproven or ("" if groups else NOT_READ), rule=rule)


def _durable(case: Case, chaos: ChaosReport, rows: pd.DataFrame, missing: str) -> Gate:
    crashes = [record.struck_ns for record in chaos.struck if record.is_crash]
    if not crashes:
        return DURABLE.not_run("nothing crashed")
    if case.truth is None:
        return DURABLE.decide({}, unproven=NOT_READ)
    before = _acknowledged_before_crashes(chaos, rows)
    lost = _lost_among(chaos, before)
    figures: dict[str, Any] = {"crashes": len(crashes), "acknowledged_before": len(before), "lost": len(lost)}
    if lost:
        figures["keys"] = lost[:_NAMED]
    wrong = f"{_events_were(len(lost))} acknowledged before a crash and did not survive it" if lost else ""
    unproven = missing or ("" if len(before) else "nothing was acknowledged before a crash")
    return DURABLE.decide(figures, wrong=wrong, unproven=unproven)


def find_lost_by_crashes(case: Case) -> list[str]:
    """The keys of lost events that were acknowledged before a crash."""
    if case.chaos is None:
        return []
    return _lost_among(case.chaos, _acknowledged_before_crashes(case.chaos, attempts_of(case)))


def _acknowledged_before_crashes(chaos: ChaosReport, rows: pd.DataFrame) -> pd.Series[int]:
    first = first_acknowledgements(rows)
    return first[first < max((record.struck_ns for record in chaos.struck if record.is_crash), default=0)]


def _lost_among(chaos: ChaosReport, acknowledged: pd.Series[int]) -> list[str]:
    return [each.key for each in chaos.wrong if each.kind is DiscrepancyKind.LOST and each.seq in acknowledged.index]


def _events_were(count: int) -> str:
    return counted(count, "event was", "events were")


def _delivery_gate(case: Case, chaos: ChaosReport, rows: pd.DataFrame, missing: str) -> Gate:
    events = sum(run.scenario.count for run in case.scenario_runs_of(S11))
    first = first_acknowledgements(rows)
    due = rows[rows["attempt"] == 1].set_index("seq")["intended_ns"]
    took_s = (first - due.reindex(first.index)) / 1e9
    attempts = rows.groupby("seq").size()
    failed_first = rows[(rows["attempt"] == 1) & (rows["outcome"] != Outcome.ACKNOWLEDGED)]
    figures: dict[str, Any] = {
        "events": events,
        "acknowledged": len(first),
        "attempts": len(rows),
        "redeliveries": int((rows["attempt"] > 1).sum()),
        "first_attempt_failures": len(failed_first),
        "attempts_most": int(attempts.max()) if len(attempts) else 0,
        **{f"delivery_p{q}_s": round(float(took_s.quantile(q / 100)), 3) for q in (50, 99) if len(took_s)},
        **({"delivery_max_s": round(float(took_s.max()), 3)} if len(took_s) else {}),
    }
    refused, tried = _undelivered(chaos, rows)
    parts = []
    if len(refused):
        parts.append(
            f"{_events_were(len(refused))} refused for good, the first with status {refused['status'].iloc[0]}"
        )
    if len(tried):
        parts.append(f"{_events_were(len(tried))} tried after the last healing and never acknowledged")
    unproven = missing
    if not unproven and events > len(first):
        unproven = f"{_events_were(events - len(first))} not sent, or given up before the last fault was healed"
    failed = pd.concat([refused, tried])
    return _decide_time(case, DELIVERED, figures, failed, "; ".join(parts), unproven)


def _undelivered(chaos: ChaosReport, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The last attempts of events that were never acknowledged: refused for good, and tried after the last healing."""
    first = first_acknowledgements(rows)
    left = rows[~rows["seq"].isin(first.index)].sort_values("done_ns").groupby("seq").tail(1)
    healed_ns = max((record.healed_ns for record in chaos.struck), default=0)
    # As in ``rig.engine.redelivering``: after such an answer no sender tries again, after another 2xx neither.
    refused = left[left["status"].between(200, 499) & ~left["status"].isin(ASK_AGAIN)]
    return refused, left[(left["sent_ns"] > healed_ns) & ~left.index.isin(refused.index)]


def _recovery(case: Case, found: Sequence[Aftermath]) -> Gate:
    if not found:
        return RECOVERY.not_run("no fault struck while anything was sent")
    limit_s = _recovery_limit_s(case)
    patience_s = limit_s if limit_s < math.inf else grace_s(case)
    figures: dict[str, Any] = {
        "first_good_max_s": _worst(each.first_good_s for each in found),
        "back_at_rate_max_s": _worst(each.back_s for each in found),
    }
    silent = [each for each in found if _is_nan(each.first_good_s)]
    parts = [
        f"no good answer came after {each.record.fault}" + (each.record.note and f" ({each.record.note})")
        for each in silent
        if each.tried_after and each.watched_s >= patience_s
    ]
    unseen = [f"nothing was sent after {each.record.fault}" for each in silent if not each.tried_after]
    unseen += [
        f"no good answer came after {each.record.fault}, {_describe_watch(each.watched_s, patience_s)}"
        for each in silent
        if each.tried_after and each.watched_s < patience_s
    ]
    if limit_s < math.inf:
        figures["limit_s"] = limit_s
        late = [each for each in found if not each.back_s <= limit_s and not _is_nan(each.first_good_s)]
        cut = [each for each in late if _is_nan(each.back_s) and not each.rate_watched_s >= limit_s]
        unseen += [
            f"it was not back at its rate after {each.record.fault}, {_describe_watch(each.rate_watched_s, limit_s)}"
            for each in cut
        ]
        late = [each for each in late if each not in cut]
        healed = [(each.record.healed_ns, max(limit_s, each.back_s)) for each in late if not _is_nan(each.back_s)]
        spans = [Span(since_ns, since_ns + round(seconds * 1e9)) for since_ns, seconds in healed]
        if len(spans) == len(late) and (busy := describe_neighbours(case, spans)):
            unseen += [f"it was not back at its rate within {limit_s:g} s, but {busy}"]
            late = []
        parts += [
            f"after {each.record.fault} it was not back at its rate within {limit_s:g} s"
            + ("" if _is_nan(each.back_s) else f" but after {each.back_s:.1f} s")
            for each in late
        ]
    return RECOVERY.decide(figures, wrong="; ".join(parts[:_NAMED]), unproven="; ".join(unseen[:_NAMED]))


def _describe_watch(watched_s: float, patience_s: float) -> str:
    if _is_nan(watched_s):
        return "but no good answer came before the first fault, so its rate is not known"
    return (
        f"but for {max(0.0, watched_s):.1f} s only was nothing else broken, and it may take {patience_s:g} s: "
        "give the chaos more time (rig chaos --minutes)"
    )


def _recovery_limit_s(case: Case) -> float:
    """What the profile allows; infinite where it says nothing."""
    limit_s = (case.profile.get("faults") or {}).get("recovery_s")
    return math.inf if limit_s is None else float(limit_s)


def _bound_gate(case: Case, rows: pd.DataFrame, missing: str) -> Gate:
    broken = was_broken(case, rows)
    whole = rows[~broken]
    waited_ms = (whole["done_ns"] - whole["sent_ns"]).where(whole["sent_ns"] > 0, 0) / 1e6
    in_vain = whole[whole["error_kind"] == "timeout"]
    late = len(in_vain)
    figures: dict[str, Any] = {
        "attempts": len(whole),
        "timeouts": late,
        "slowest_ms": round(float(waited_ms.max()), 1) if len(whole) else 0.0,
        "timeouts_while_broken": int((rows[broken]["error_kind"] == "timeout").sum()),
    }
    wrong = f"{counted(late, 'request')} waited in vain although nothing was broken any more" if late else ""
    missing = missing or ("" if len(whole) else "nothing was sent then")
    return _decide_time(case, BOUNDED, figures, in_vain, wrong, missing)


def _decide_time(
    case: Case, kind: GateKind, figures: Mapping[str, Any], failed: pd.DataFrame, wrong: str, unproven: str = ""
) -> Gate:
    """As ``kind.decide``. Where nothing but timeouts failed and others held the machine meanwhile, it is INVALID."""
    only_late = len(failed) > 0 and bool((failed["error_kind"] == "timeout").all())
    if wrong and only_late and (busy := describe_neighbours(case, waits_of(failed))):
        return kind.decide(figures, unproven=f"{wrong}, but {busy}")
    return kind.decide(figures, wrong=wrong, unproven=unproven)


def _graceful(case: Case, chaos: ChaosReport, rows: pd.DataFrame) -> Gate:
    struck = [record for record in chaos.struck if record.fault in DEPLOYS]
    if not struck:
        return GRACEFUL.not_run("nothing was deployed")
    if chaos.processes < 2:
        return GRACEFUL.not_run("one process serves: none can go on while it is replaced")
    deploys = [record for record in struck if not record.is_relaunched]  # else the rig failed requests, too
    dropped = [_dropped_by(record, rows) for record in deploys]
    seen = sum(len(_during_deploy(record, rows)) for record in deploys)
    crossed = sum(excused for _, excused in dropped)
    failed = pd.concat([lost for lost, _ in dropped]) if dropped else rows[:0]
    figures: dict[str, Any] = {"deploys": len(deploys), "requests": seen, "failed": len(failed), "crossed": crossed}
    unproven = "the service did not replace a process that was to end (SIGTERM), so the rig launched it again"
    if not deploys:
        return GRACEFUL.decide(figures, unproven=f"{unproven}: is that how it is deployed?")
    if not seen:
        return GRACEFUL.not_run("no request was under way", figures)
    wrong = f"{counted(len(failed), 'request')} failed because of a deploy" if len(failed) else ""
    unproven = unproven if len(deploys) < len(struck) else ""
    return _decide_time(case, GRACEFUL, figures, failed, wrong, unproven)


def _dropped_by(record: FaultRecord, rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The requests that a deploy failed, and how many more are excused: they may have crossed a closing connection.

    One such crossing is excused for each process that was replaced.
    """
    during = _during_deploy(record, rows)
    failed = during[(during["outcome"] != Outcome.ACKNOWLEDGED) & (during["error_kind"] != "stale_connection")]
    is_young = (failed["error_kind"] == "connection_lost") & (failed["done_ns"] - failed["sent_ns"] < _YOUNG_NS)
    excused = failed[is_young].index[: len(record.processes)]
    return failed.drop(excused), len(excused)


def _during_deploy(record: FaultRecord, rows: pd.DataFrame) -> pd.DataFrame:
    """The requests that a deploy may not fail: of one that replaces all at once those that were under way."""
    tried = rows[rows["sent_ns"] > 0]
    until_ns = record.heal_begun_ns if record.fault == DEPLOYS[0] else record.strike_begun_ns
    return tried[(tried["done_ns"] >= record.strike_begun_ns) & (tried["sent_ns"] <= until_ns)]


def _containment_gate(chaos: ChaosReport, rows: pd.DataFrame) -> Gate:
    of_one = [record for record in chaos.struck if record.fault in OF_ONE_PROCESS]
    if not of_one:
        return CONTAINED.not_run("no fault of a single process struck")
    if chaos.processes < 2:
        return CONTAINED.not_run("one process serves: there are no others")
    parts, served, sent = [], 0, 0
    for record in of_one:
        if record.gone:
            parts.append(f"{record.fault} took {counted(len(record.gone), 'other process')} down")
        during = _during(record, rows)
        good = during[(during["outcome"] == Outcome.ACKNOWLEDGED) & (during["done_ns"] < record.heal_begun_ns)]
        sent, served = sent + len(during), served + len(good)
        errors = int((during["status"] >= 500).sum())
        if errors:
            parts.append(f"during {record.fault} the others answered 5xx {counted(errors, 'time')}")
        elif len(during) >= _ENOUGH and good.empty:
            parts.append(f"during {record.fault} nobody answered")
    if not parts and sent >= _ENOUGH and not served:  # few during each of them
        parts.append("during all of these faults nobody answered")
    figures: dict[str, Any] = {"faults": len(of_one), "sent": sent, "answered": served}
    if sent < _ENOUGH and not parts:
        return CONTAINED.not_run("hardly anything was sent during these faults", figures)
    return CONTAINED.decide(figures, wrong="; ".join(parts[:_NAMED]))


def _during(record: FaultRecord, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["sent_ns"] > record.struck_ns) & (rows["sent_ns"] < record.heal_begun_ns)]


def find_failed_attempts(case: Case, gate: str) -> pd.DataFrame:
    """The attempts that make a gate of S11 fail; empty where it stands on none, as ``S11.clean`` does."""
    rows, chaos = attempts_of(case), case.chaos
    found: list[pd.DataFrame] = []
    if chaos is not None and gate == DELIVERED.pattern:
        found = [*_undelivered(chaos, rows)]
    elif chaos is not None and gate == GRACEFUL.pattern:
        found = [_dropped_by(each, rows)[0] for each in chaos.struck if each.fault in DEPLOYS]
    elif chaos is not None and gate == CONTAINED.pattern:
        during = [_during(each, rows) for each in chaos.struck if each.fault in OF_ONE_PROCESS]
        found = [each[each["status"] >= 500] for each in during]
    elif gate == BOUNDED.pattern:
        found = [rows[~was_broken(case, rows) & (rows["error_kind"] == "timeout")]]
    elif gate == RECOVERY.pattern:
        failed, limit_s = rows[rows["outcome"] != Outcome.ACKNOWLEDGED], _recovery_limit_s(case)
        is_bounded = limit_s < math.inf
        slow = [
            each
            for each in aftermaths(case)
            if _is_nan(each.first_good_s) or (is_bounded and not each.back_s <= limit_s)
        ]
        slow.sort(key=lambda each: not _is_nan(each.first_good_s))
        found = [failed[failed["sent_ns"] > each.record.healed_ns] for each in slow[:1]]
    return pd.concat(found) if found else rows[:0]


def _clean(case: Case, chaos: ChaosReport) -> Gate:
    before, after = chaos.before, chaos.after
    if before is None or after is None or before.unread or after.unread:
        why = next((each.unread for each in (before, after) if each is not None and each.unread), "nobody looked")
        return CLEAN.decide({}, unproven=f"what lies open in the database is not known: {why}")
    names = ("connections", "active", "idle_in_transaction", "waiting")
    figures: dict[str, Any] = {name: f"{getattr(before, name)} → {getattr(after, name)}" for name in names}
    parts = []
    if not after.is_like(before):
        parts = [
            f"{name.replace('_', ' ')}: {getattr(after, name)}, before {getattr(before, name)}"
            for name in names[1:]
            if getattr(after, name) > getattr(before, name)
        ]
    groups = case.truth.groups if case.truth is not None else ()
    surplus = sum(max(0, group.dead - group.dead_max) for group in groups if group.scenario == S11)
    if surplus:
        parts.append(f"{counted(surplus, 'dead letter')} more than events explain")
    return CLEAN.decide(figures, wrong="; ".join(parts))


def _worst(values: Any) -> float | str:
    """The largest of some seconds; "never" where one did not come."""
    found = list(values)
    return "never" if any(map(_is_nan, found)) else round(max(found), 2)


def _is_nan(value: float) -> bool:
    return value != value
