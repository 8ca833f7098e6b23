"""The pack: one folder a run, with all its evidence.

What the run gathers is written part by part, as it goes. ``load`` gives the ``Case`` that the checkers judge. How the
folder is made, held, sealed and verified is ``rig.evidence.pack_folder``'s.

``rig.evidence.history`` writes the requests' history into ``history_folder``. Logs of started processes go to
``logs_folder``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from rig.errors import EvidenceError
from rig.evidence.capacity import CapacityReport
from rig.evidence.case import PROBE_COLUMNS, Case, Finding
from rig.evidence.certificate import Certificate
from rig.evidence.chaos import ChaosReport
from rig.evidence.confusion import SeedAnswer
from rig.evidence.diagnosis import Diagnosis
from rig.evidence.echoes import Echoes
from rig.evidence.examples import AnswerExample
from rig.evidence.hashes import walk
from rig.evidence.history import read_history
from rig.evidence.judgement import Judgement
from rig.evidence.key_storm import CALL_COLUMNS, KeyStorm, KeyStormSummary, no_calls
from rig.evidence.latency_calibration import LATENCY_COLUMNS
from rig.evidence.locust_run import LocustRun, MasterAccount, WorkerAccount
from rig.evidence.manifest import Manifest
from rig.evidence.pack_folder import MANIFEST, PackFolder
from rig.evidence.parquet import read_frame, require_bounded
from rig.evidence.pool_metrics import POOL_COLUMNS
from rig.evidence.sample_files import read_samples
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.schema import READABLE, translate_header
from rig.evidence.shapes import ShapedEvent, ShapesReport
from rig.evidence.storm import UNKNOWN_KID, StormReport
from rig.evidence.truth import Discrepancy, TruthReport
from rig.text import one_line, shorten

CERTIFICATE = "certificate.json"
TRUTH = "truth/report.json"
DISCREPANCIES = "truth/unclean.csv"
_FORMULA = ("=", "+", "-", "@", "'")
PROBES = "probes.parquet"
POOL = "pool.parquet"
LATENCY = "calibration/ruler.parquet"
LEAK_CHECK = "hygiene.json"
STORMS = "storms"
KEY_STORMS = f"{STORMS}/{UNKNOWN_KID}"
VERDICTS = "verdicts.json"
DIAGNOSIS = "diagnosis.json"
_LOCUST_RUN = "crowd"
ANSWERS = "diagnosis/answers.json"
EXAMPLES = "history/examples.json"
CHAOS = "chaos.json"
SHAPES = "shapes.json"
SHAPED_EVENTS = "shapes.parquet"
CAPACITY = "capacity.json"
ECHOES = "echoes.json"

_DISCREPANCY_COLUMNS = ("kind", "scenario_run", "scenario", "tenant", "key", "detail")


class Pack(PackFolder):
    """One evidence folder, with a method for each part that it holds."""

    # --- written as the run goes -----------------------------------------------------------------------------------

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest; again after every scenario run."""
        self._write_value(MANIFEST, manifest, Manifest)

    def write_certificate(self, certificate: Certificate) -> None:
        """Write the results of the null benchmark and the latency calibration."""
        self._write_value(CERTIFICATE, certificate, Certificate)

    def write_latency_calibration(self, rows: pd.DataFrame) -> None:
        """Write the rows behind the latency certificate (columns: ``LATENCY_COLUMNS``)."""
        self._write_frame(LATENCY, rows)

    def write_histograms(self, scenario_run: str, log: str) -> None:
        """Write a scenario run's latencies as a standard histogram log."""
        self.write(f"histograms/{scenario_run}.hlog", log.encode())

    def write_truth(self, truth: TruthReport) -> None:
        """Write what the database held. The discrepancies go to a CSV file of their own."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(_DISCREPANCY_COLUMNS)
        rows.writerows([_cell(getattr(key, column)) for column in _DISCREPANCY_COLUMNS] for key in truth.discrepancies)
        self.write(DISCREPANCIES, text.getvalue().encode())
        self._write_value(TRUTH, replace(truth, discrepancies=()), TruthReport)

    def write_probes(self, probes: pd.DataFrame) -> None:
        """Write what the health prober saw (columns: ``PROBE_COLUMNS``)."""
        self._write_frame(PROBES, probes)

    def write_pool(self, pool: pd.DataFrame) -> None:
        """Write what the target's metrics said of its pool of connections (columns: ``POOL_COLUMNS``)."""
        self._write_frame(POOL, pool)

    def write_leak_findings(self, findings: Sequence[Finding]) -> None:
        """Write what the leak check found before and after the run."""
        self._write_value(LEAK_CHECK, tuple(findings), tuple[Finding, ...])

    def write_storm(self, report: StormReport | KeyStorm) -> None:
        """Write the result of one case of a storm. Verifications of tokens go to a table beside it."""
        if isinstance(report, KeyStorm):
            self._write_frame(f"{KEY_STORMS}/{report.label}.parquet", report.calls)
            self._write_value(f"{KEY_STORMS}/{report.label}.json", report, KeyStormSummary)
        else:
            self._write_value(f"{STORMS}/{report.label}.json", report, StormReport)

    def write_answers(self, answers: Sequence[SeedAnswer]) -> None:
        """Write the diagnosis's answers to seeded bottlenecks."""
        self._write_value(ANSWERS, tuple(answers), tuple[SeedAnswer, ...])

    def write_examples(self, examples: Sequence[AnswerExample]) -> None:
        """Write the first answers that must not be."""
        self._write_value(EXAMPLES, tuple(examples), tuple[AnswerExample, ...])

    def write_chaos(self, chaos: ChaosReport) -> None:
        """Write which faults were planned, and what became of each; again as they strike."""
        self._write_value(CHAOS, chaos, ChaosReport)

    def write_shapes(self, shapes: ShapesReport) -> None:
        """Write what came of S10; at first only which scenarios send it. The events go to a table beside it."""
        if shapes.events:
            self._write_frame(SHAPED_EVENTS, pd.DataFrame([asdict(event) for event in shapes.events]))
        self._write_value(SHAPES, replace(shapes, events=()), ShapesReport)

    def write_capacity(self, capacity: CapacityReport) -> None:
        """Write what is looked for in a search for the capacity; again with why it ended."""
        self._write_value(CAPACITY, capacity, CapacityReport)

    def write_echoes(self, echoes: Echoes) -> None:
        """Write what was found in answers and metrics; at first only what will be sent."""
        self._write_value(ECHOES, echoes, Echoes)

    def write_judgement(self, judgement: Judgement) -> None:
        """Write the verdicts, and the diagnosis where there is one: it has a file of its own."""
        self._write_value(VERDICTS, judgement, Judgement, without="diagnosis")
        if judgement.diagnosis is not None:
            self._write_value(DIAGNOSIS, judgement.diagnosis, Diagnosis)

    # --- read again ------------------------------------------------------------------------------------------------

    def manifest(self) -> Manifest:
        """The manifest. EvidenceError where it is damaged, or of a version that this rig cannot read."""
        document, file = self._read(MANIFEST, dict[str, Any]), self.path / MANIFEST
        if "schema" not in document:
            raise EvidenceError(f"{self.path} is no evidence pack: {file} is of another program")
        if (version := document["schema"]) not in READABLE:
            made = f", made by rig {document['rig_version']}" if document.get("rig_version") else ""
            raise EvidenceError(
                f"{file} has schema {shorten(repr(version))}{made}; this rig reads {', '.join(map(str, READABLE))}: "
                "read the pack with the rig that made it"
            )
        return self._read(MANIFEST, Manifest)

    def judgement(self) -> Judgement | None:
        """The stored verdicts and diagnosis; None where nothing was judged yet."""
        if not self._has(VERDICTS):
            return None
        diagnosis = self._find(DIAGNOSIS, Diagnosis)
        return replace(self._read(VERDICTS, Judgement), diagnosis=diagnosis)

    def require_judgement(self) -> Judgement:
        """As ``judgement``; EvidenceError where nothing was judged yet."""
        if (judgement := self.judgement()) is None:
            raise EvidenceError(f"{self.path} was not judged yet: run `rig settle` on it first")
        return judgement

    def load(self) -> Case:
        """The evidence as the checkers read it. EvidenceError names a damaged file."""
        # The walk refuses a pipe or a link before anything opens it.
        require_bounded([path for _, path in walk(self.path) if path.suffix == ".parquet"])
        manifest, nothing, history = self.manifest(), Case(), read_history(self.history_folder)
        _require_own_requests(history, manifest.scenario_runs, self.history_folder)
        return Case(
            verb=manifest.verb,
            settings=manifest.settings,
            profile=manifest.profile,
            scenario_runs=manifest.scenario_runs,
            history=history,
            certificate=self.certificate(),
            truth=self._truth() if self._has(TRUTH) else None,
            latency_calibration=self.latency_rows(),
            probes=self._frame(PROBES, PROBE_COLUMNS, nothing.probes),
            pool=self._frame(POOL, POOL_COLUMNS, nothing.pool),
            leak_findings=self._find(LEAK_CHECK, tuple[Finding, ...]) or (),
            storms=tuple(
                self._read(f"{STORMS}/{path.name}", StormReport) for path in sorted((self.path / STORMS).glob("*.json"))
            ),
            key_storms=tuple(self._key_storm(path.stem) for path in sorted((self.path / KEY_STORMS).glob("*.json"))),
            samples=read_samples(self.samples_folder),
            locust_run=self.locust_run(),
            answers=self._find(ANSWERS, tuple[SeedAnswer, ...]) or (),
            examples=self.examples(),
            chaos=self.chaos(),
            shapes=self.shapes(),
            capacity=self.capacity(),
            echoes=self.echoes(),
            fingerprint=manifest.fingerprint,
            left_out=manifest.left_out,
            notes=manifest.notes,
            epoch_monotonic_ns=manifest.epoch_monotonic_ns,
            cut_short=manifest.cut_short,
        )

    def certificate(self) -> Certificate | None:
        """What the client can do; None where it was not certified."""
        return self._find(CERTIFICATE, Certificate)

    def latency_rows(self) -> pd.DataFrame:
        """The rows behind the latency calibration (columns: ``LATENCY_COLUMNS``)."""
        return self._frame(LATENCY, LATENCY_COLUMNS, Case().latency_calibration)

    def examples(self) -> tuple[AnswerExample, ...]:
        """The first answers that must not be."""
        return self._find(EXAMPLES, tuple[AnswerExample, ...]) or ()

    def capacity(self) -> CapacityReport | None:
        """What a search for the capacity was asked for, and why it ended; None where nobody searched."""
        return self._find(CAPACITY, CapacityReport)

    def chaos(self) -> ChaosReport | None:
        """Which faults were planned, and what became of each; None where nobody broke anything."""
        return self._find(CHAOS, ChaosReport)

    def shapes(self) -> ShapesReport | None:
        """What came of the events of S10; None where none was sent."""
        report = self._find(SHAPES, ShapesReport)
        if report is None or not self._has(SHAPED_EVENTS):  # an earlier rig wrote the events into the report
            return report
        table = read_frame(self.path / SHAPED_EVENTS, [each.name for each in fields(ShapedEvent)])
        events = table.assign(kinds=table["kinds"].map(tuple)).to_dict("records")
        try:
            return replace(report, events=TypeAdapter(tuple[ShapedEvent, ...]).validate_python(events))
        except ValidationError as error:
            raise EvidenceError(f"{self.path / SHAPED_EVENTS} is damaged: {error.errors()[0]['msg']}") from None

    def echoes(self) -> Echoes | None:
        """What was found in answers and metrics; None where nobody listened."""
        return self._find(ECHOES, Echoes)

    def locust_run(self) -> LocustRun | None:
        """The books of a run that locust led; None where it did not."""
        if not self._has(f"{_LOCUST_RUN}/master.json"):
            return None
        accounts = sorted((self.path / _LOCUST_RUN).glob("worker-*.json"))
        return LocustRun(
            self._read(f"{_LOCUST_RUN}/master.json", MasterAccount),
            tuple(self._read(f"{_LOCUST_RUN}/{path.name}", WorkerAccount) for path in accounts),
        )

    def write_account(self, account: MasterAccount | WorkerAccount) -> None:
        """Write the books of the master, or those of one worker."""
        if isinstance(account, MasterAccount):
            self._write_value(f"{_LOCUST_RUN}/master.json", account, MasterAccount)
        else:
            self._write_value(f"{_LOCUST_RUN}/worker-{account.number}.json", account, WorkerAccount)

    def _truth(self) -> TruthReport:
        path = self.path / DISCREPANCIES
        try:
            header, *rows = csv.reader(io.StringIO(self._read_bytes(DISCREPANCIES).decode(), newline=""))
            if tuple(translate_header(header)) != _DISCREPANCY_COLUMNS:
                raise ValueError(f"its columns are not {', '.join(_DISCREPANCY_COLUMNS)}")
            cells = ([cell.removeprefix("'") for cell in row] for row in rows)
            keys = [dict(zip(_DISCREPANCY_COLUMNS, row, strict=True)) for row in cells]
            discrepancies = TypeAdapter(tuple[Discrepancy, ...]).validate_python(keys)
        except (ValueError, csv.Error) as error:
            raise EvidenceError(f"{path} is damaged: {error}") from None
        return replace(self._read(TRUTH, TruthReport), discrepancies=discrepancies)

    def _key_storm(self, label: str) -> KeyStorm:
        account = self._read(f"{KEY_STORMS}/{label}.json", KeyStormSummary)
        return account.with_calls(self._frame(f"{KEY_STORMS}/{label}.parquet", CALL_COLUMNS, no_calls()))


def _require_own_requests(history: pd.DataFrame, runs: Sequence[ScenarioRun], folder: Path) -> None:
    """EvidenceError where the history has a request that its scenario run does not have."""
    counts = {run.scenario.label: run.scenario.count for run in runs}
    for label, seqs in history.groupby("scenario_run", observed=True)["seq"]:
        if (count := counts.get(str(label))) is not None and not 0 <= seqs.min() <= seqs.max() < count:
            raise EvidenceError(f"{folder} is damaged: {label} has {count:,} requests, and another one is in its rows")


def _cell(value: object) -> str:
    """A cell of a CSV file. An apostrophe stands before a formula, and before a cell that begins with one."""
    text = one_line("" if value is None else value)
    return f"'{text}" if text.startswith(_FORMULA) else text
