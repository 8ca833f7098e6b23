"""A pack in a notebook: ``rig.load("results/…")`` gives every table of it as a data frame.

Flow: ``load`` opens the folder and reads the manifest only. Each attribute is read when it is first used, and kept. It
works on finished and unfinished packs. It judges nothing and verifies no hashes: ``rig check`` does.

    >>> run = rig.load("results/20261121T130326Z-run-1")
    >>> run.verdicts.query("verdict != 'PASS'")
    >>> run.metrics.groupby("scenario")["response_p99_ms"].max()
    >>> run.sessions_by_event("S8-10000-stripe-1")

Every ``…_ns`` is a time on the monotonic clock of the machine that made the pack. ``run.seconds(column)`` gives seconds
since the run began.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rig.diagnose import aas, cpu
from rig.errors import UsageError
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate, NullTrial
from rig.evidence.history import span_of
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.pack import Pack
from rig.evidence.samples import Samples
from rig.evidence.truth import CanaryHit, Discrepancy, Group, Total
from rig.report.figures import FIGURES, scenario_run_figures

__all__ = ["FIGURES", "LoadedPack", "load"]

_VERDICTS = ("gate", "verdict", "rule", "reason", "figures")


def load(path: Path | str) -> LoadedPack:
    """Open an evidence pack. EvidenceError where the folder is none, or has a schema that this rig cannot read."""
    return LoadedPack(Pack.open(Path(path)))


class LoadedPack:
    """One run's evidence, read lazily. Frames are the caller's own: change them as you like."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self.path: Path = pack.path
        self.manifest: Manifest = pack.manifest()
        """What was asked for: ``verb``, ``argv``, ``seed``, ``settings``, ``profile``, ``fingerprint`` …"""

    def __repr__(self) -> str:
        verdict = self.judgement.verdict if self.judgement else "not judged"
        return f"<{self._pack.name}: {verdict}, {len(self.manifest.scenario_runs)} scenario runs>"

    @cached_property
    def case(self) -> Case:
        """The evidence as the checkers read it. EvidenceError names a damaged file."""
        return self._pack.load()

    @cached_property
    def judgement(self) -> Judgement | None:
        """The verdicts that were written, None in a pack that was never judged."""
        return self._pack.judgement()

    # --- what was claimed -------------------------------------------------------------------------------------------

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row per gate: ``gate, verdict`` (PASS, FAIL, INVALID, NOT-RUN), ``rule, reason, figures`` (a dict).

        Units of the figures come last in their names; exit gates (``EG…``) come first.
        """
        gates = self.judgement.gates if self.judgement else ()
        rows = [(gate.id, gate.verdict.value, gate.rule, gate.reason, dict(gate.figures)) for gate in gates]
        return pd.DataFrame(rows, columns=list(_VERDICTS))

    # --- what was sent ----------------------------------------------------------------------------------------------

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row per attempt of a request. Only a sender that redelivers makes more than one.

        ``scenario, scenario_run, step, trial, route, seq, attempt`` (from 1), ``class, tenant, worker, connection,
        intended_ns`` (when it was due), ``sent_ns`` (0: never), ``done_ns, status`` (0: no answer), ``outcome``
        (acknowledged, refused, indeterminate, not_sent), ``error_kind``. Response time is done - intended, service time
        done - sent.
        """
        return self.case.history

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row per scenario run: outcomes, rate, quantiles of response and service time, client CPU, active sessions.

        Columns and units: ``rig.report.frames.FIGURES``.
        """
        return scenario_run_figures(self.case)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """A row per question to health, readiness and metrics: ``at_ns, path, status, elapsed_ns, error``."""
        return self.case.probes

    # --- what the database held -------------------------------------------------------------------------------------

    @cached_property
    def truth(self) -> pd.DataFrame:
        """A row per scenario run and tenant: rows expected (``…_min``, ``…_max``) and found.

        ``scenario_run, scenario, tenant, canonical_min, canonical_max, canonical, dead_min, dead_max, dead,
        discrepancies`` (a dict: number of keys by kind). Empty where the database was not read.
        """
        return _frame(Group, self.case.truth.groups if self.case.truth else ())

    @cached_property
    def totals(self) -> pd.DataFrame:
        """A row per tenant and table: ``tenant, row`` (canonical, dead), ``expected_min, expected_max, observed``."""
        return _frame(Total, self.case.truth.totals if self.case.truth else ())

    @cached_property
    def discrepancies(self) -> pd.DataFrame:
        """A row per key whose rows are not what they must be: ``kind, scenario_run, scenario, tenant, key, detail``.

        Kinds: lost, duplicated, unexpected, misrouted, wrong_tenant, wrong_channel, wrong_correlation, recovered (no
        fault: an unanswered request whose row exists).
        """
        return _frame(Discrepancy, self.case.truth.discrepancies if self.case.truth else ())

    @property
    def unclean(self) -> pd.DataFrame:
        """The old name of ``discrepancies``; it goes with the next release."""
        warnings.warn("LoadedPack.unclean is called discrepancies now", DeprecationWarning, stacklevel=2)
        return self.discrepancies

    @cached_property
    def canary_hits(self) -> pd.DataFrame:
        """A row per place where personal data was found: ``place, in_log, what, request, json_path``."""
        return _frame(CanaryHit, self.case.truth.canary_hits if self.case.truth else ())

    # --- what the machine did ---------------------------------------------------------------------------------------

    @property
    def certificate(self) -> Certificate | None:
        """What the client was shown to be good for; None where it was not certified."""
        return self.case.certificate

    @cached_property
    def null_trials(self) -> pd.DataFrame:
        """A row per trial of the null benchmark.

        ``rps, elapsed_s, requests, failures, client_cpu_us_per_request, client_all_in_us_per_request``, and shares of
        one core: ``worker_utilisation, stub_utilisation, stalled, cores_busy`` (one per core), ``steal``;
        ``throttled_s``.
        """
        return _frame(NullTrial, self.certificate.trials if self.certificate else ())

    @property
    def samples(self) -> Samples:
        """What the samplers saw, a frame a table.

        ``.activity`` (waits by session), ``.sessions``, ``.blocking``, ``.pids`` (CPU by process), ``.machine`` …;
        columns and units in ``rig.evidence.samples.COLUMNS``.
        """
        return self.case.samples

    def sessions_by_event(self, scenario_run: str | None = None) -> pd.Series[float]:
        """Average active sessions by wait event, the largest first, over a scenario run or over all samples."""
        start_ns, end_ns = (None, None) if scenario_run is None else self._window(scenario_run)
        return aas.by_event(self.samples, start_ns, end_ns)

    def cores_by_role(self, scenario_run: str) -> pd.Series[float]:
        """Cores that each role kept busy on average during a scenario run, the largest first."""
        return cpu.by_role(self.samples, *self._window(scenario_run))

    # --- times ------------------------------------------------------------------------------------------------------

    def seconds(self, times_ns: pd.Series[int]) -> pd.Series[float]:
        """Monotonic nanoseconds as seconds since the run began; 0, which is no time, as NaN."""
        since = (times_ns.astype("float64") - self.manifest.epoch_monotonic_ns) / 1e9
        return since.where(times_ns != 0, np.nan)

    def _window(self, scenario_run: str) -> tuple[int, int]:
        rows = self.history[(self.history["scenario_run"] == scenario_run) & (self.history["sent_ns"] > 0)]
        if rows.empty:
            known = ", ".join(sorted(self.history["scenario_run"].astype(str).unique())) or "none"
            raise UsageError(
                f"no scenario run named {scenario_run!r} sent anything in {self.path}; those that did: {known}"
            )
        return span_of(rows)


def _frame(kind: type[Any], values: tuple[Any, ...]) -> pd.DataFrame:
    """Frozen values as rows, their fields as columns, also where there are none."""
    return pd.DataFrame([asdict(value) for value in values], columns=[field.name for field in fields(kind)])
