"""The pack: one folder a run, with all its evidence.

Flow: ``Pack.create`` makes ``<UTC>-<verb>-<seed>.partial``. Files are written into it during the run, each whole or
not at all. ``seal`` writes the hashes and drops the suffix with one rename. A folder with the suffix belongs to a run
that still goes or has crashed (``hold`` tells the two apart); one without is finished and never written to again.
``load`` gives the ``Case`` that the checkers judge; ``verify`` says whether a byte was changed since.

``rig.evidence.history`` writes the requests' history into ``history_folder``. Logs of started processes go to
``logs_folder``.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.capacity import CapacityReport
from rig.evidence.case import PROBE_COLUMNS, Case, Finding
from rig.evidence.certificate import Certificate
from rig.evidence.chaos import ChaosReport
from rig.evidence.confusion import SeedAnswer
from rig.evidence.diagnosis import Diagnosis
from rig.evidence.echoes import Echoes
from rig.evidence.examples import AnswerExample
from rig.evidence.hashes import SUMS, IntegrityCheck, check_integrity, sums_text, walk
from rig.evidence.history import read_history
from rig.evidence.judgement import Judgement
from rig.evidence.key_storm import CALL_COLUMNS, KeyStorm, KeyStormSummary, no_calls
from rig.evidence.latency_calibration import LATENCY_COLUMNS
from rig.evidence.locust_run import LocustRun, MasterAccount, WorkerAccount
from rig.evidence.manifest import Manifest
from rig.evidence.parquet import read_frame, require_bounded, write_frame
from rig.evidence.pool_metrics import POOL_COLUMNS
from rig.evidence.sample_files import read_samples
from rig.evidence.schema import READABLE, translate, translate_header
from rig.evidence.shapes import ShapedEvent, ShapesReport
from rig.evidence.storm import UNKNOWN_KID, StormReport
from rig.evidence.truth import Discrepancy, TruthReport
from rig.text import one_line, record_lines

T = TypeVar("T")

PARTIAL = ".partial"
MANIFEST = "manifest.json"
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
_TEMPORARY = ".being-written"
_DOCUMENT_BYTES_MOST = 1 << 28
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Pack:
    """One evidence folder; ``path`` loses its ``.partial`` when it is sealed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._let_go: Callable[[], object] = lambda: None

    @classmethod
    def create(cls, results: Path, verb: str, seed: int, started_utc: datetime) -> Pack:
        """A new unfinished pack in ``results``. A name that is taken gets a number.

        ConfigError where none can be made there.
        """
        name = f"{started_utc.astimezone(UTC):%Y%m%dT%H%M%SZ}-{verb}-{seed}"
        for attempt in range(1, 1000):
            final = results / (name if attempt == 1 else f"{name}-{attempt}")
            path = final.with_name(final.name + PARTIAL)
            try:
                results.mkdir(parents=True, exist_ok=True)
                path.mkdir(mode=0o700)  # logs of the target and its database are nobody else's to read
            except FileExistsError:
                if not results.is_dir():
                    raise ConfigError(f"results directory {results} is a file; give --out a directory") from None
                continue
            except OSError as error:
                raise ConfigError(f"results directory {results}: {error}; give --out a writable one") from None
            # Whoever holds the unfinished name is the only one who may ever take the finished one.
            if not final.exists():
                pack = cls(path)
                for folder in (pack.history_folder, pack.logs_folder):
                    folder.mkdir()
                return pack
            path.rmdir()
        raise ConfigError(f"results directory {results} holds a thousand runs named {name}; clear it")

    @classmethod
    def open(cls, path: Path) -> Pack:
        """An existing pack, finished or not. EvidenceError where the folder is none."""
        try:
            path = path.resolve()
            there = (path / MANIFEST).is_file()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise EvidenceError(f"{path} is no evidence pack: {error}") from None
        if not there:
            raise EvidenceError(f"{path} is no evidence pack: it has no {MANIFEST}")
        return cls(path)

    def hold(self) -> None:
        """Be the only process that writes to it, until ``let_go`` or the end of this process.

        UsageError while another process holds it. The kernel locks the folder itself; no file is written, and no child
        inherits the lock. A file system without such locks (NFS has none for folders) cannot keep others out.
        """
        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise EvidenceError(f"{self.path} cannot be opened: {error}") from None
        self._let_go = weakref.finalize(self, os.close, folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.let_go()
            raise UsageError(
                f"{self.path}: that run still goes, or is being settled; wait for its end, or end it first"
            ) from None
        except OSError:
            self.let_go()

    def let_go(self) -> None:
        """Release the lock, so that others may write."""
        self._let_go()

    @property
    def is_sealed(self) -> bool:
        """True when the pack is finished."""
        return not self.path.name.endswith(PARTIAL)

    @property
    def name(self) -> str:
        """Name of the finished pack."""
        return self.path.name.removesuffix(PARTIAL)

    @property
    def history_folder(self) -> Path:
        """Where ``rig.evidence.history`` writes."""
        return self.path / "history"

    @property
    def samples_folder(self) -> Path:
        """Where the samplers write."""
        return self.path / "samples"

    @property
    def logs_folder(self) -> Path:
        """Where processes that the rig starts write their logs."""
        return self.path / "logs"

    # --- written as the run goes -----------------------------------------------------------------------------------

    def write(self, name: str, data: bytes) -> None:
        """Write one file completely, or leave it as it was, and sync it to disk. ``name`` is relative, with ``/``.

        EvidenceError where the pack is finished, the name leads out of it, or the file cannot be written.
        """
        if self.is_sealed:
            raise EvidenceError(f"{self.path} is finished and never written to again; {name} was to be written")
        if not _NAME.fullmatch(name):
            raise EvidenceError(f"{name!r} cannot be the name of a file in a pack")
        path = self.path / name
        temporary = path.with_name(path.name + _TEMPORARY)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise EvidenceError(f"{path} cannot be written: {error}") from None

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest; again after every scenario run."""
        self.write(MANIFEST, _json(manifest, Manifest))

    def write_certificate(self, certificate: Certificate) -> None:
        """Write the results of the null benchmark and the latency calibration."""
        self.write(CERTIFICATE, _json(certificate, Certificate))

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
        self.write(TRUTH, _json(replace(truth, discrepancies=()), TruthReport))

    def write_probes(self, probes: pd.DataFrame) -> None:
        """Write what the health prober saw (columns: ``PROBE_COLUMNS``)."""
        self._write_frame(PROBES, probes)

    def write_pool(self, pool: pd.DataFrame) -> None:
        """Write what the target's metrics said of its pool of connections (columns: ``POOL_COLUMNS``)."""
        self._write_frame(POOL, pool)

    def write_leak_findings(self, findings: Sequence[Finding]) -> None:
        """Write what the leak check found before and after the run."""
        self.write(LEAK_CHECK, _json(tuple(findings), tuple[Finding, ...]))

    def write_storm(self, report: StormReport | KeyStorm) -> None:
        """Write the result of one case of a storm. Verifications of tokens go to a table beside it."""
        if isinstance(report, KeyStorm):
            self._write_frame(f"{KEY_STORMS}/{report.label}.parquet", report.calls)
            self.write(f"{KEY_STORMS}/{report.label}.json", _json(report, KeyStormSummary))
        else:
            self.write(f"{STORMS}/{report.label}.json", _json(report, StormReport))

    def write_answers(self, answers: Sequence[SeedAnswer]) -> None:
        """Write the diagnosis's answers to seeded bottlenecks."""
        self.write(ANSWERS, _json(tuple(answers), tuple[SeedAnswer, ...]))

    def write_examples(self, examples: Sequence[AnswerExample]) -> None:
        """Write the first answers that must not be."""
        self.write(EXAMPLES, _json(tuple(examples), tuple[AnswerExample, ...]))

    def write_chaos(self, chaos: ChaosReport) -> None:
        """Write which faults were planned, and what became of each; again as they strike."""
        self.write(CHAOS, _json(chaos, ChaosReport))

    def write_shapes(self, shapes: ShapesReport) -> None:
        """Write what came of S10; at first only which scenarios send it. The events go to a table beside it."""
        if shapes.events:
            self._write_frame(SHAPED_EVENTS, pd.DataFrame([asdict(event) for event in shapes.events]))
        self.write(SHAPES, _json(replace(shapes, events=()), ShapesReport))

    def write_capacity(self, capacity: CapacityReport) -> None:
        """Write what is looked for in a search for the capacity; again with why it ended."""
        self.write(CAPACITY, _json(capacity, CapacityReport))

    def write_echoes(self, echoes: Echoes) -> None:
        """Write what was found in answers and metrics; at first only what will be sent."""
        self.write(ECHOES, _json(echoes, Echoes))

    def write_judgement(self, judgement: Judgement) -> None:
        """Write the verdicts, and the diagnosis where there is one: it has a file of its own."""
        self.write(VERDICTS, _json(judgement, Judgement, without="diagnosis"))
        if judgement.diagnosis is not None:
            self.write(DIAGNOSIS, _json(judgement.diagnosis, Diagnosis))

    def seal(self) -> str:
        """Finish the pack: hashes, then one rename. Returns the SHA-256 of the hash list, hex."""
        if self.is_sealed:
            raise EvidenceError(f"{self.path} is finished already")
        final = self.path.with_name(self.name)
        if final.exists():
            raise EvidenceError(f"{final} exists; {self.path} cannot be finished under that name: move one of them")
        try:
            for name, path in walk(self.path):
                if name.endswith(_TEMPORARY):  # a crash cut it off
                    path.unlink()
                else:
                    _sync(path)
            for folder in [self.path, *(path for path in self.path.rglob("*") if path.is_dir())]:
                _sync(folder)
            sums = sums_text(self.path).encode()
            self.write(SUMS, sums)
            self.path.rename(final)
            _sync(final.parent)
        except OSError as error:
            raise EvidenceError(f"{self.path} cannot be finished: {error}; run `rig settle` on it") from None
        self.path = final
        return hashlib.sha256(sums).hexdigest()

    # --- read again ------------------------------------------------------------------------------------------------

    def manifest(self) -> Manifest:
        """The manifest. EvidenceError where it is damaged, or of a version that this rig cannot read."""
        version = self._read(MANIFEST, dict[str, Any]).get("schema")
        if version not in READABLE:
            readable = ", ".join(map(str, READABLE))
            raise EvidenceError(f"{self.path / MANIFEST} has schema {version!r}; this rig reads {readable}")
        return self._read(MANIFEST, Manifest)

    def judgement(self) -> Judgement | None:
        """The stored verdicts and diagnosis; None where nothing was judged yet."""
        if not self._has(VERDICTS):
            return None
        diagnosis = self._read(DIAGNOSIS, Diagnosis) if self._has(DIAGNOSIS) else None
        return replace(self._read(VERDICTS, Judgement), diagnosis=diagnosis)

    def load(self) -> Case:
        """The evidence as the checkers read it. EvidenceError names a damaged file."""
        # The walk refuses a pipe or a link before anything opens it.
        require_bounded([path for _, path in walk(self.path) if path.suffix == ".parquet"])
        manifest, nothing = self.manifest(), Case()
        return Case(
            verb=manifest.verb,
            settings=manifest.settings,
            profile=manifest.profile,
            scenario_runs=manifest.scenario_runs,
            history=read_history(self.history_folder),
            certificate=self.certificate(),
            truth=self._truth() if self._has(TRUTH) else None,
            latency_calibration=self.latency_rows(),
            probes=self._frame(PROBES, PROBE_COLUMNS, nothing.probes),
            pool=self._frame(POOL, POOL_COLUMNS, nothing.pool),
            leak_findings=self._read(LEAK_CHECK, tuple[Finding, ...]) if self._has(LEAK_CHECK) else (),
            storms=tuple(
                self._read(f"{STORMS}/{path.name}", StormReport) for path in sorted((self.path / STORMS).glob("*.json"))
            ),
            key_storms=tuple(self._key_storm(path.stem) for path in sorted((self.path / KEY_STORMS).glob("*.json"))),
            samples=read_samples(self.samples_folder),
            locust_run=self.locust_run(),
            answers=self._read(ANSWERS, tuple[SeedAnswer, ...]) if self._has(ANSWERS) else (),
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
        return self._read(CERTIFICATE, Certificate) if self._has(CERTIFICATE) else None

    def latency_rows(self) -> pd.DataFrame:
        """The rows behind the latency calibration (columns: ``LATENCY_COLUMNS``)."""
        return self._frame(LATENCY, LATENCY_COLUMNS, Case().latency_calibration)

    def examples(self) -> tuple[AnswerExample, ...]:
        """The first answers that must not be."""
        return self._read(EXAMPLES, tuple[AnswerExample, ...]) if self._has(EXAMPLES) else ()

    def capacity(self) -> CapacityReport | None:
        """What a search for the capacity was asked for, and why it ended; None where nobody searched."""
        return self._read(CAPACITY, CapacityReport) if self._has(CAPACITY) else None

    def chaos(self) -> ChaosReport | None:
        """Which faults were planned, and what became of each; None where nobody broke anything."""
        return self._read(CHAOS, ChaosReport) if self._has(CHAOS) else None

    def shapes(self) -> ShapesReport | None:
        """What came of the events of S10; None where none was sent."""
        report = self._read(SHAPES, ShapesReport) if self._has(SHAPES) else None
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
        return self._read(ECHOES, Echoes) if self._has(ECHOES) else None

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
            self.write(f"{_LOCUST_RUN}/master.json", _json(account, MasterAccount))
        else:
            self.write(f"{_LOCUST_RUN}/worker-{account.number}.json", _json(account, WorkerAccount))

    def verify(self) -> IntegrityCheck:
        """Hash every file again. EvidenceError for a pack that is not finished."""
        if not self.is_sealed:
            raise EvidenceError(f"{self.path} is not finished: run `rig settle` on it first")
        return check_integrity(self.path)

    def require_intact(self) -> str:
        """Hash every file of a finished pack again, and return its digest. EvidenceError where one was changed."""
        checked = self.verify()
        if not checked.intact:
            raise EvidenceError(f"{self.path} was changed: {checked.sentence}")
        return checked.digest

    def _has(self, name: str) -> bool:
        return (self.path / name).exists()

    def _read(self, name: str, kind: type[T]) -> T:
        path = self.path / name
        try:
            if path.stat().st_size > _DOCUMENT_BYTES_MOST:
                raise EvidenceError(f"{path} cannot be read: it is larger than {_DOCUMENT_BYTES_MOST >> 20} MiB")
            document = translate(name, _adapter(Any).validate_json(path.read_bytes()))
            return cast(T, _adapter(cast(Any, kind)).validate_python(document))
        except OSError as error:
            raise EvidenceError(f"{path} cannot be read: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "(whole file)"
            raise EvidenceError(f"{path} is damaged: {where}: {first['msg']}") from None

    def _truth(self) -> TruthReport:
        path = self.path / DISCREPANCIES
        try:
            header, *rows = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
            if tuple(translate_header(header)) != _DISCREPANCY_COLUMNS:
                raise ValueError(f"its columns are not {', '.join(_DISCREPANCY_COLUMNS)}")
            cells = ([cell.removeprefix("'") for cell in row] for row in rows)
            keys = [dict(zip(_DISCREPANCY_COLUMNS, row, strict=True)) for row in cells]
            discrepancies = TypeAdapter(tuple[Discrepancy, ...]).validate_python(keys)
        except (OSError, ValueError, csv.Error) as error:
            raise EvidenceError(f"{path} is damaged: {error}") from None
        return replace(self._read(TRUTH, TruthReport), discrepancies=discrepancies)

    def _key_storm(self, label: str) -> KeyStorm:
        account = self._read(f"{KEY_STORMS}/{label}.json", KeyStormSummary)
        return account.with_calls(self._frame(f"{KEY_STORMS}/{label}.parquet", CALL_COLUMNS, no_calls()))

    def _write_frame(self, name: str, frame: pd.DataFrame) -> None:
        write_frame(frame, data := io.BytesIO())
        self.write(name, data.getvalue())

    def _frame(self, name: str, columns: Sequence[str], nothing: pd.DataFrame) -> pd.DataFrame:
        return read_frame(self.path / name, columns) if self._has(name) else nothing


def _cell(value: object) -> str:
    """A cell of a CSV file. An apostrophe stands before a formula, and before a cell that begins with one."""
    text = one_line("" if value is None else value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json(value: object, kind: Any, without: str | None = None) -> bytes:
    text = _adapter(kind).dump_json(value, exclude={without} if without else None, fallback=_plain)
    return (record_lines(json.loads(text)) + "\n").encode()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and writes values of a type, made once: the manifest is written twice a scenario run."""
    return TypeAdapter(kind)


def _plain(value: object) -> object:
    """A numpy number or array as plain numbers."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise EvidenceError(f"{value!r} ({type(value).__name__}) cannot be written as evidence")


def _sync(path: Path) -> None:
    """Sync a file or a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
