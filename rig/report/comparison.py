"""Two runs compared: which gates ended otherwise, and by how much each figure differs. Pure.

Flow: scenario runs of the same plan (scenario, step, route, trial, size, pace) in both runs are pairs. The difference
of a figure is the mean ratio over its pairs, with a bootstrap interval. A difference is claimed only where the interval
excludes "no difference", there are enough pairs, and no caveat blocks it. Everything else is "no difference can be
claimed", with the reason.

An interval says how sure the difference between *these* two runs is. Two runs are two moments of one machine: whether a
change of the target caused the difference takes several runs of both, in turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.evidence.case import Case
from rig.evidence.certificate import NullTrial
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.model import Scenario
from rig.report.caveats import Caveat, ComparedRun, caveats_about
from rig.report.figures import scenario_run_figures
from rig.report.interval import LEVEL, interval_of_mean, least_pairs
from rig.text import some

NULL = "null benchmark"
LADDER = "ladder"
_WARM_UP = "warm-up"
ABSENT = "absent"
_LARGEST_LOG = 700.0
"""Of a ratio; of a larger one no float is the exponential."""


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """What is compared: a column of ``scenario_run_figures``; ``better`` says which direction is good."""

    column: str
    words: str
    unit: str
    better: Literal["lower", "higher", "neither"] = "lower"


_RATE = ComparedFigure("rps", "rate", "requests/s", "higher")
_TIME = ComparedFigure("elapsed_s", "time", "s")
_RESPONSE = tuple(ComparedFigure(f"response_{q}_ms", f"response {q}", "ms") for q in ("p50", "p95", "p99"))
_SERVICE = tuple(ComparedFigure(f"service_{q}_ms", f"service {q}", "ms") for q in ("p50", "p95", "p99"))
_CPU = ComparedFigure("client_cpu_us_per_request", "client CPU", "µs/request")
_SESSIONS = ComparedFigure("active_sessions", "active sessions", "", "neither")


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one subject in both runs.

    ``before`` and ``after`` are geometric means over the pairs, so that their ratio is the mean ratio of a pair.
    ``change`` is that ratio minus 1, and its interval is ``low`` to ``high`` (None: too few pairs). ``claim`` is None
    where no difference can be claimed; then ``why_not`` has the reason.
    """

    subject: str
    figure: ComparedFigure
    pairs: int
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    claim: Literal["lower", "higher"] | None
    why_not: str = ""

    @property
    def meaning(self) -> Literal["better", "worse", "different", "open"]:
        """What a claimed difference means; ``open`` where none can be claimed."""
        if self.claim is None:
            return "open"
        if self.figure.better == "neither":
            return "different"
        return "better" if self.claim == self.figure.better else "worse"

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        values = asdict(self)
        figure = values.pop("figure")
        return {"subject": self.subject, "figure": figure["column"], "unit": figure["unit"], **values} | {
            "judged": self.meaning
        }


@dataclass(frozen=True, slots=True)
class GateChange:
    """A gate with another verdict in the second run; ``absent`` where a run did not have it."""

    gate: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunComparison:
    """A whole comparison. ``left_out`` names scenario runs without a pair in the other run, with the reason."""

    before: ComparedRun
    after: ComparedRun
    caveats: tuple[Caveat, ...]
    gates: tuple[GateChange, ...]
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]

    @property
    def claims(self) -> tuple[Difference, ...]:
        """Differences that can be claimed."""
        return tuple(difference for difference in self.differences if difference.claim is not None)

    @property
    def is_worse(self) -> bool:
        """Whether a gate fails that did not before, or a figure is worse beyond doubt."""
        return any(gate.after == Verdict.FAIL for gate in self.gates) or any(
            found.meaning == "worse" for found in self.claims
        )

    @property
    def unproven(self) -> tuple[str, ...]:
        """The gates that passed before and are INVALID now, or are not there; any that is INVALID where the run passed.

        A run that was cut short has only the gates of what it came to, and may pass all of these.
        """
        passed = self.before.judgement.verdict is Verdict.PASS
        return tuple(
            gate.gate
            for gate in self.gates
            if (gate.before == Verdict.PASS and gate.after in (Verdict.INVALID, ABSENT))
            or (passed and gate.after == Verdict.INVALID)
        )

    @property
    def share_a_gate(self) -> bool:
        """True when a gate was judged in both runs."""
        before, after = ({gate.id for gate in run.judgement.gates} for run in (self.before, self.after))
        return not before.isdisjoint(after)

    @property
    def intervals(self) -> int:
        """How many differences have an interval."""
        return sum(difference.low is not None for difference in self.differences)

    @property
    def sentence(self) -> str:
        """The result in one line."""
        parts = []
        if self.gates:
            parts.append(f"{_count(len(self.gates), 'gate')} ended otherwise")
        worse = [found for found in self.claims if found.meaning == "worse"]
        better = [found for found in self.claims if found.meaning == "better"]
        for found, word in ((worse, "worse"), (better, "better")):
            if found:
                named = some((f"{each.subject} {each.figure.words} {each.change:+.0%}" for each in found), 3)
                parts.append(f"{word}: {named}")
        if not worse and not better:
            blocker = next((f": {caveat.what}" for caveat in self.caveats if caveat.blocks), "")
            parts.append(f"no difference in any figure can be claimed{blocker}")
        return "; ".join(parts)

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "before": _about(self.before),
            "after": _about(self.after),
            "sentence": self.sentence,
            "comparable": not any(caveat.blocks for caveat in self.caveats),
            "caveats": [asdict(caveat) for caveat in self.caveats],
            "gates": [asdict(change) for change in self.gates],
            "level": LEVEL,
            "pairs_needed": least_pairs(),
            "differences": [difference.document() for difference in self.differences],
            "left_out": list(self.left_out),
        }


def compare(before: ComparedRun, after: ComparedRun) -> RunComparison:
    """Compare two judged runs. What allows no claim gets none, with the reason."""
    caveats = caveats_about(before, after)
    blocker = next((caveat.what for caveat in caveats if caveat.blocks), "")
    pairs, left_out = _pair_scenario_runs(before.case, after.case)
    differences = (*_of_null(before.case, after.case, blocker), *_of_scenario_runs(before, after, pairs, blocker))
    return RunComparison(before, after, caveats, _gate_changes(before, after), differences, left_out)


# --- gates ---


def _gate_changes(before: ComparedRun, after: ComparedRun) -> tuple[GateChange, ...]:
    runs = [{gate.id: gate for gate in run.judgement.gates} for run in (before, after)]
    changes = []
    for name in dict.fromkeys([*runs[0], *runs[1]]):
        pair = [run.get(name) for run in runs]
        old, new = (gate.verdict.value if gate else ABSENT for gate in pair)
        if old != new:
            changes.append(GateChange(name, old, new, _reason([gate for gate in pair if gate])))
    return tuple(changes)


def _reason(gates: list[Gate]) -> str:
    return next((gate.reason for gate in gates if gate.verdict is not Verdict.PASS and gate.reason), "")


# --- pairs ---


def _pair_scenario_runs(before: Case, after: Case) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Figures of the scenario runs that both have (columns ``…_before``, ``…_after``), and what was left out."""
    plans = [{run.scenario.label: run.scenario for run in case.scenario_runs} for case in (before, after)]
    left_out = [f"{label}: only in the {'first' if label in plans[0] else 'second'} run" for label in _odd(plans)]
    shared = {label: _unlike(plans[0][label], plans[1][label]) for label in plans[0].keys() & plans[1].keys()}
    left_out += [f"{label}: another {unlike}" for label, unlike in shared.items() if unlike]
    figures = scenario_run_figures(before).merge(
        scenario_run_figures(after), on="scenario_run", suffixes=("_before", "_after")
    )
    dropped = {item.partition(":")[0] for item in left_out}
    whole = figures["complete_before"] & figures["complete_after"]
    left_out += [f"{label}: cut off in one of the runs" for label in figures.loc[~whole, "scenario_run"]]
    return figures[whole & ~figures["scenario_run"].isin(dropped)], tuple(sorted(left_out))


def _odd(plans: Sequence[Mapping[str, Scenario]]) -> set[str]:
    return plans[0].keys() ^ plans[1].keys()


def _unlike(before: Scenario, after: Scenario) -> str:
    """Which part of a plan differs. Limits may differ: they change the verdict and not the load."""
    for name in ("shares", "pace", "shuffled", "shared_key"):
        if getattr(before, name) != getattr(after, name):
            return name
    return "" if len(before.tenants) == len(after.tenants) else "number of tenants"


# --- differences ---


def _of_null(before: Case, after: Case, blocker: str) -> Iterator[Difference]:
    """The control: the client against a stub that does nothing. The target cannot cause a difference here."""
    trials = [case.certificate.trials if case.certificate else () for case in (before, after)]
    paired: list[tuple[NullTrial, ...]] = list(zip(*trials, strict=False))
    for column, figure in (("rps", _RATE), ("client_cpu_us_per_request", _CPU)):
        pairs = np.array([[getattr(trial, column) for trial in pair] for pair in paired], np.float64).reshape(-1, 2)
        yield from _of_pairs(NULL, figure, pairs, blocker)


def _of_scenario_runs(
    before: ComparedRun, after: ComparedRun, pairs: pd.DataFrame, blocker: str
) -> Iterator[Difference]:
    plans = {run.scenario.id: run.scenario for run in before.case.scenario_runs}
    invalid = {**_invalid(before.judgement), **_invalid(after.judgement)}
    gated = [name for name, plan in plans.items() if plan.limit_s is not None or plan.p95_limit_ms is not None]
    for name in gated:
        rows = pairs[pairs["scenario_before"] == name]
        wholly = (_TIME, _RATE, *_RESPONSE, *(_SERVICE if plans[name].pace.rate_per_s else ()), _CPU, _SESSIONS)
        yield from _of_rows(name, wholly, rows, blocker or invalid.get(name, ""))
    rungs = pairs[~pairs["scenario_before"].isin([*gated, _WARM_UP])]
    yield from _of_rows(LADDER, (_RATE, *_RESPONSE, _CPU, _SESSIONS), rungs, blocker)
    for name in sorted(set(rungs["scenario_before"])):
        yield from _of_rows(name, (_RATE,), rungs[rungs["scenario_before"] == name], blocker)


def _invalid(judgement: Judgement) -> dict[str, str]:
    """Scenarios whose gate of speed is INVALID. Nothing can be claimed about them either."""
    return {
        gate.id.partition(".")[0]: f"{gate.id} is INVALID in one of the runs"
        for gate in judgement.gates
        if gate.verdict is Verdict.INVALID and gate.id.endswith((".time", ".rate", ".p95"))
    }


def _of_rows(subject: str, figures: Sequence[ComparedFigure], rows: pd.DataFrame, blocker: str) -> Iterator[Difference]:
    for figure in figures:
        pairs = rows[[f"{figure.column}_before", f"{figure.column}_after"]].to_numpy(np.float64)
        yield from _of_pairs(subject, figure, pairs, blocker)


def _of_pairs(subject: str, figure: ComparedFigure, pairs: NDArray[np.float64], blocker: str) -> Iterator[Difference]:
    """The difference over those ``pairs`` (shape (n, 2)) that have a ratio; none where no pair has one."""
    usable = pairs[(np.isfinite(pairs) & (pairs > 0)).all(axis=1)]
    if len(usable):
        yield _difference(subject, figure, usable, blocker)


def _difference(subject: str, figure: ComparedFigure, pairs: NDArray[np.float64], blocker: str) -> Difference:
    """``pairs`` has the shape (n, 2), all above 0. With ratios, small and large scenario runs weigh the same."""
    logs = np.log(pairs)
    ratios = logs[:, 1] - logs[:, 0]
    count, needed = len(ratios), least_pairs()
    low = high = None
    why_not = ""
    if count < needed:
        why_not = f"{_count(count, 'pair')} of {needed} that a claim needs{_remedy(subject, needed)}"
    else:
        low, high = (exp(min(bound, _LARGEST_LOG)) - 1 for bound in interval_of_mean(ratios))
        if low <= 0 <= high:
            why_not = "the interval holds 0"
    claim: Literal["lower", "higher"] | None = "higher" if ratios.mean() > 0 else "lower"
    if why := blocker or why_not:
        claim, why_not = None, why
    before, after = np.exp(logs.mean(axis=0)).tolist()
    change = after / before - 1
    return Difference(subject, figure, count, before, after, change, low, high, claim, why_not)


def _remedy(subject: str, needed: int) -> str:
    """How to get more pairs. Only S8 has trials."""
    return f": run both with --trials {needed}" if subject == "S8" else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _about(run: ComparedRun) -> dict[str, Any]:
    return {
        "pack": run.name,
        "digest": run.digest,
        "verb": run.manifest.verb,
        "started_utc": run.manifest.started_utc.isoformat(),
        "seed": run.manifest.seed,
        "verdict": run.judgement.verdict.value,
        "exit_code": run.judgement.exit_code,
    }
