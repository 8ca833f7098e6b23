"""The figures that a reviewer asks for first, each with its limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.shapes import PROBLEMS, S10
from rig.evidence.truth import DiscrepancyKind
from rig.model import FORGED, Outcome
from rig.stats import latency_figures, response_ms
from rig.text import milliseconds, number, one_line, value_words


@dataclass(frozen=True, slots=True)
class HeadlineFigure:
    """A ``value`` with its unit; ``beside`` it stands its limit. ``verdict`` is that of its gate, "" for PASS."""

    title: str
    value: str
    beside: str
    verdict: str = ""


def headline(case: Case, judgement: Judgement) -> tuple[HeadlineFigure, ...]:
    """The figures that there is evidence for, the most important first."""
    gates = {gate.id: gate for gate in judgement.gates}
    load = () if "capacity.held" in gates else _load(case)  # its steps have many rates
    sent = (*_requests(case), *_shapes(case))
    return (*_capacity(gates), *_speed(gates), *load, *sent, *_truth(case, gates), *_client(case, gates))


def _speed(gates: dict[str, Gate]) -> Iterator[HeadlineFigure]:
    for gate in gates.values():
        scenario, _, what = gate.id.partition(".")
        limit = gate.figures.get("limit_s" if what == "time" else "limit_ms")
        if what == "time" and limit is not None:
            words = _with_unit(gate.figures.get("median_s"), "s")
            yield _of(gate, f"{scenario}, median", words, f"limit {value_words(limit)} s")
        elif what == "p95" and limit is not None:
            value = gate.figures.get("response_p95_ms")
            yield _of(gate, f"{scenario}, p95", _with_unit(value, "ms"), f"limit {value_words(limit)} ms")


def _capacity(gates: dict[str, Gate]) -> Iterator[HeadlineFigure]:
    if (gate := gates.get("capacity.held")) is not None:
        limit = f"p95 limit {value_words(gate.figures.get('p95_limit_ms'))} ms"
        yield _of(gate, "Capacity", str(gate.figures.get("capacity")), limit)


def _load(case: Case) -> Iterator[HeadlineFigure]:
    """Rate and response times of the scenario with a limit, all trials together; else of the largest scenario run."""
    judged = [run for run in case.scenario_runs if run.scenario.limit_s or run.scenario.p95_limit_ms]
    largest = sorted(case.scenario_runs, key=lambda run: (run.scenario.id == FORGED, -run.scenario.count))
    first = next(iter(judged or largest), None)
    runs = [] if first is None else [run for run in judged or largest[:1] if run.scenario.id == first.scenario.id]
    rows = [case.rows_of(run) for run in runs if run.elapsed_s > 0]
    if first is None or not any(map(len, rows)):
        return
    sent_rows, name, beside = pd.concat(rows), first.scenario.id, "response time"
    if name == S11:  # attempts that had to fail have no response time
        sent_rows, beside = sent_rows[np.isfinite(response_ms(sent_rows))], "response time of the answers"
    figures = latency_figures(sent_rows)
    if not first.scenario.p95_limit_ms:  # that one has a tile with its limit
        yield HeadlineFigure(f"{name}, p95", milliseconds(figures["response_p95_ms"]), beside)
    yield HeadlineFigure(f"{name}, p99", milliseconds(figures["response_p99_ms"]), beside)
    sent, seconds = sum(map(len, rows)), sum(run.elapsed_s for run in runs)
    yield HeadlineFigure(f"{name}, rate", f"{number(sent / seconds)}/s", f"{number(sent)} requests")


def _requests(case: Case) -> Iterator[HeadlineFigure]:
    """What fails while the rig breaks things is no error of the target: S11 has gates of its own."""
    failed = case.history["outcome"] != Outcome.ACKNOWLEDGED
    broken = case.history["scenario"] == S11
    sent, wrong = int((~broken).sum()), int((failed & ~broken).sum())
    if sent:
        share = f"{wrong / sent:.2%} of {number(sent)} requests"
        yield HeadlineFigure("Errors", number(wrong), share, Verdict.FAIL.value if wrong else "")
    if broken.any():
        attempts = f"of {number(int(broken.sum()))}, while things were broken"
        yield HeadlineFigure(f"{S11}, attempts that failed", number(int((failed & broken).sum())), attempts)


def _shapes(case: Case) -> Iterator[HeadlineFigure]:
    if case.shapes is not None and (events := case.shapes.events):
        failed = sum(each.outcome in PROBLEMS for each in events)
        beside = f"{failed / len(events):.2%} of {number(len(events))} events"
        yield HeadlineFigure(f"{S10}, events that failed", number(failed), beside, Verdict.FAIL.value if failed else "")


def _truth(case: Case, gates: dict[str, Gate]) -> Iterator[HeadlineFigure]:
    truth = case.truth
    if truth is None:
        return
    discrepancies = sum(key.kind is not DiscrepancyKind.RECOVERED for key in truth.discrepancies)
    totals = gates.get("totals")
    yield _of(totals, "Keys reconciled", number(truth.keys_reconciled), f"{number(discrepancies)} discrepancies")
    hits = number(len(truth.canary_hits))
    beside = f"in {number(truth.columns_scanned)} columns, {number(len(truth.log_files_scanned))} log files"
    yield _of(gates.get("privacy.rows"), "Personal data", f"{hits} hits", beside)


def _client(case: Case, gates: dict[str, Gate]) -> Iterator[HeadlineFigure]:
    certificate = case.certificate
    if certificate is None or not certificate.trials:
        return
    beside = f"{number(certificate.headroom)} times the floor"
    if certificate.reused is not None:
        beside += f"; certificate: {certificate.reused.words}"
    yield _of(gates.get("calibration.null"), "Client, null benchmark", f"{number(certificate.rps)}/s", beside)


def _of(gate: Gate | None, title: str, value: str, beside: str) -> HeadlineFigure:
    passed = gate is None or gate.verdict is Verdict.PASS
    return HeadlineFigure(one_line(title), value, beside, "" if passed or gate is None else gate.verdict.value)


def _with_unit(value: object, unit: str) -> str:
    words = value_words(value)
    return f"{words} {unit}" if isinstance(value, int | float) else words
