"""The history of a run: one row per attempt of a request, on disk before anything is analysed.

Flow: during a scenario run each worker appends packed rows to its own file under ``history/.raw``. ``seal`` turns these
files into one Parquet file with named columns. ``read_history`` reads all of it as one data frame, as does
``pandas.read_parquet(folder)``. ``rig settle`` seals what a crash left unsealed. Only a scenario with redelivery has
more than one attempt of a request; they come one after the other, and ``attempt`` counts them from 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from rig.errors import ErrorKind, EvidenceError
from rig.evidence.parquet import write_frame
from rig.evidence.scenario_runs import RESULT
from rig.evidence.schema import read_history_file
from rig.evidence.worker_files import ANSWERS, BODY, bodies_file, read_answers
from rig.model import Outcome, RequestClass, Scenario

COLUMNS = (
    "scenario",
    "scenario_run",
    "step",
    "trial",
    "route",
    "seq",
    "attempt",
    "class",
    "tenant",
    "worker",
    "connection",
    "intended_ns",
    "sent_ns",
    "done_ns",
    "status",
    "outcome",
    "error_kind",
)
_TEXTS = ("scenario", "scenario_run", "route", "class", "tenant", "outcome", "error_kind")

_CONNECTION = ("scenario_run", "worker", "connection")
_CLOSED_WITHIN_NS = 1_000_000_000
"""A connection that was idle for longer may have met the server's time limit."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class History:
    """The folder of one run's history. EvidenceError for a scenario run whose label is no file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._raw = folder / ".raw"
        try:
            self._raw.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvidenceError(f"history folder {self._raw} cannot be made: {error}") from None

    def rows_file(self, scenario: Scenario, worker: int) -> Path:
        """The file for a worker's rows of a scenario run."""
        require_file_name(scenario)
        return self._raw / f"{scenario.label}.{worker}.rows"

    def rows_files(self, scenario: Scenario, workers: int) -> list[Path]:
        """The files for the rows of so many workers."""
        return [self.rows_file(scenario, worker) for worker in range(workers)]

    def seal(
        self,
        scenario: Scenario,
        share: NDArray[np.int64],
        tenant: NDArray[np.int64],
        expected_status: Mapping[RequestClass, tuple[int, ...]],
        expected_again: Mapping[RequestClass, tuple[int, ...]] | None = None,
    ) -> pd.DataFrame:
        """Turn the raw files of a scenario run into Parquet with named columns. Sealing again changes nothing.

        ``share`` and ``tenant`` (shape (count,)) say by seq which share and which tenant a request belongs to;
        ``expected_again`` is what later attempts are answered, where that differs.
        EvidenceError where it cannot be written; then the raw files stay.
        """
        require_file_name(scenario)
        sealed = self.folder / f"{scenario.label}.parquet"
        files = sorted(self._raw.glob(f"{scenario.label}.*.rows"))
        if sealed.exists():
            # It appears only when it is complete. Raw files beside it were left by a crash.
            frame = _read_file(sealed)
        else:
            rows = np.concatenate([_whole_rows(file.read_bytes()) for file in files] or [np.empty(0, RESULT)])
            rows = _mark_other_bodies(rows, [bodies_file(file) for file in files], scenario, share, tenant)
            frame = _to_frame(rows, scenario, share, tenant, expected_status, expected_again or expected_status)
            _keep(frame, self._raw / sealed.name, sealed)
        for file in files:
            file.unlink()
            bodies_file(file).unlink(missing_ok=True)
        return frame

    def take_examples(self, scenario: Scenario) -> list[dict[str, Any]]:
        """What the workers of a scenario run kept of answers that contradict their status. It is taken once."""
        files = sorted(self._raw.glob(f"{scenario.label}.*.examples"))
        found = [example for file in files for example in json.loads(file.read_bytes())]
        for file in files:
            file.unlink()
        return found

    def take_answers(self, scenario: Scenario) -> Iterator[bytes]:
        """The whole answers that the workers of a scenario run kept, head and body. They are taken once."""
        for file in sorted(self._raw.glob(f"{scenario.label}.*{ANSWERS}")):
            yield from read_answers(file)
            file.unlink()

    def close(self) -> None:
        """Remove the folder of raw rows where everything is sealed. Closing again changes nothing."""
        for file in self._raw.glob(f"*{ANSWERS}"):
            file.unlink()  # nobody asked for them: the run ended early
        if self._raw.is_dir() and not any(self._raw.iterdir()):
            self._raw.rmdir()


def require_file_name(scenario: Scenario) -> None:
    """EvidenceError for a label that is no file name: one from a stranger's pack could lead out of the folder."""
    if not _FILE_NAME.fullmatch(scenario.label):
        raise EvidenceError(f"{scenario.label[:200]!r} cannot be the name of a scenario run: it is no name of a file")


def read_history(folder: Path) -> pd.DataFrame:
    """All sealed rows in a folder. EvidenceError where a file cannot be read."""
    frames = [_read_file(file) for file in sorted(folder.glob("*.parquet"))]
    if not frames:
        return pd.DataFrame({column: [] for column in COLUMNS})
    return _with_categories(pd.concat(frames, ignore_index=True))  # concat turns unlike categories into texts


def was_skipped(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which requests the rig did not try to send, because of a deadline, a full queue or an interrupt."""
    return rows["error_kind"] == ErrorKind.SKIPPED.name.lower()


def is_forged(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which requests were forged."""
    return rows["class"].astype(str).str.startswith(RequestClass.FORGED.value)


def was_let_in(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which forged requests were answered with a success that is not their right answer."""
    return is_forged(rows) & (rows["outcome"] == Outcome.REFUSED) & rows["status"].between(200, 299)


def outcomes_of_requests(rows: pd.DataFrame, count: int) -> NDArray[np.uint8]:
    """``Outcome.code`` of each of ``count`` requests of one scenario run: that of its best attempt.

    Its row must exist where any attempt was acknowledged. Where none was, it may exist if one was sent.
    """
    codes: NDArray[np.uint8] = np.full(count, Outcome.UNREPORTED.code, dtype=np.uint8)
    for outcome in (Outcome.NOT_SENT, Outcome.REFUSED, Outcome.INDETERMINATE, Outcome.ACKNOWLEDGED):
        codes[rows["seq"][rows["outcome"] == outcome]] = outcome.code
    return codes


def attempts_of_requests(rows: pd.DataFrame, count: int) -> NDArray[np.int64]:
    """How many attempts of each of ``count`` requests of one scenario run may have reached the target."""
    return np.bincount(rows["seq"][rows["outcome"] != Outcome.NOT_SENT].to_numpy(np.int64), minlength=count)


def span_of(sent: pd.DataFrame) -> tuple[int, int]:
    """When the first of some requests was sent and the last one answered (monotonic ns); there must be one."""
    return int(sent["sent_ns"].min()), int(sent["done_ns"].max())


def has_failed(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which requests the rig tried to send and the target did not acknowledge."""
    return (rows["outcome"] != Outcome.ACKNOWLEDGED) & ~was_skipped(rows)


def find_causes_of_loss(rows: pd.DataFrame) -> pd.Series[int]:
    """For each request that was lost because the server closed its connection after an error, the row of that error.

    Index and values are labels of ``rows``. Such a request went out within a second after the answer, 500 or above, to
    the one before it on its connection: a server that closes then without saying so (RFC 9112, section 9.6, asks for
    ``Connection: close``) loses it. Error and loss have one cause.
    """
    lost = rows["error_kind"] == ErrorKind.CONNECTION_LOST.name.lower()
    if not lost.any() or not (rows["status"] >= 500).any():
        return pd.Series(dtype=rows.index.dtype)
    sent = rows[rows["sent_ns"] > 0].sort_values("sent_ns", kind="stable")
    before = sent.index.to_series().groupby([sent[name] for name in _CONNECTION], observed=True).shift()
    before = before[lost.reindex(before.index) & before.notna()].astype(rows.index.dtype)
    errors = rows.loc[before]
    waited_ns = rows.loc[before.index, "sent_ns"].to_numpy(np.int64) - errors["done_ns"].to_numpy(np.int64)
    causes: pd.Series[int] = before[(errors["status"].to_numpy() >= 500) & (waited_ns < _CLOSED_WITHIN_NS)]
    return causes


def _keep(frame: pd.DataFrame, unfinished: Path, sealed: Path) -> None:
    """Write a frame as Parquet. ``sealed`` appears only when it is complete."""
    try:
        write_frame(frame, unfinished)
        unfinished.replace(sealed)
    except (OSError, pa.ArrowException) as error:
        unfinished.unlink(missing_ok=True)
        raise EvidenceError(f"history file {sealed} cannot be written: {error}") from None


def _read_file(file: Path) -> pd.DataFrame:
    return read_history_file(file, COLUMNS, _with_categories)


def _with_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its texts as categories. ValueError where another column holds anything but whole numbers."""
    for column in frame.columns.difference(list(_TEXTS)):
        if frame[column].dtype.kind not in "iu":
            raise ValueError(f"the column {column} holds {frame[column].dtype}, not whole numbers")
    return frame.astype(dict.fromkeys(_TEXTS, "category"))


def _whole_rows(data: bytes) -> NDArray[np.void]:
    """The complete rows of raw data. A row that a crash cut off, or that is not written yet, is left out."""
    return np.frombuffer(data[: len(data) // RESULT.itemsize * RESULT.itemsize], dtype=RESULT)


class RowsTail:
    """Reads a worker's rows while it still writes them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._count = 0

    def news(self) -> NDArray[np.void]:
        """The whole rows (``RESULT``) since the last call. A file that is not there has none."""
        rows: NDArray[np.void] = np.empty(0, RESULT)
        with suppress(FileNotFoundError), self._file.open("rb") as raw:
            raw.seek(self._count * RESULT.itemsize)
            rows = _whole_rows(raw.read())
        self._count += len(rows)
        return rows


WHOLE_ANSWERS = (ErrorKind.NONE, ErrorKind.CONTRADICTED, ErrorKind.OTHER_CORRELATION)
"""Error kinds of requests whose answer counts by its status."""
CONTRADICTIONS = (ErrorKind.CONTRADICTED.name.lower(), ErrorKind.OTHER_CORRELATION.name.lower())
"""Error kinds of answers that contradict their own status, which is right."""


def _mark_other_bodies(
    rows: NDArray[np.void],
    files: Sequence[Path],
    scenario: Scenario,
    share: NDArray[np.int64],
    tenant: NDArray[np.int64],
) -> NDArray[np.void]:
    """The rows, with ``OTHER_BODY`` where a replay was answered with another body than the first answer of its key."""
    found = [np.frombuffer(file.read_bytes(), dtype=BODY) for file in files if file.exists()]
    if not found:
        return rows
    bodies = pd.DataFrame(np.concatenate(found)).merge(
        pd.DataFrame({"seq": rows["seq"], "done_ns": rows["done_ns"], "row": np.arange(len(rows))}), on="seq"
    )
    seqs = bodies["seq"].to_numpy()
    repeating = np.array([part.one_key for part in scenario.shares])
    of_key = bodies.assign(share=share[seqs], tenant=tenant[seqs])[repeating[share[seqs]]].sort_values("done_ns")
    first = of_key.groupby(["share", "tenant"])["crc"].transform("first")
    marked = rows.copy()
    marked["error_kind"][of_key.loc[of_key["crc"] != first, "row"].to_numpy()] = ErrorKind.OTHER_BODY
    return marked


def _to_frame(
    rows: NDArray[np.void],
    scenario: Scenario,
    share: NDArray[np.int64],
    tenant: NDArray[np.int64],
    expected_status: Mapping[RequestClass, tuple[int, ...]],
    expected_again: Mapping[RequestClass, tuple[int, ...]],
) -> pd.DataFrame:
    attempt = _attempts(rows, scenario)
    share_of_row = share[rows["seq"]]
    kinds = [kind.name.lower() for kind in ErrorKind]
    classes = list(dict.fromkeys(part.class_name for part in scenario.shares))
    class_of_share = np.array([classes.index(part.class_name) for part in scenario.shares] or [0])
    frame = pd.DataFrame(
        {
            "seq": rows["seq"],
            "attempt": attempt,
            "class": _named_codes(class_of_share[share_of_row], classes),
            "tenant": _named_codes(tenant[rows["seq"]], scenario.tenants),
            "worker": rows["worker"],
            "connection": rows["connection"],
            "intended_ns": rows["intended_ns"],
            "sent_ns": rows["sent_ns"],
            "done_ns": rows["done_ns"],
            "status": rows["status"],
            "outcome": _outcomes(rows, scenario, share_of_row, attempt, (expected_status, expected_again)),
            "error_kind": _named_codes(rows["error_kind"], kinds),
        }
    )
    none = np.zeros(len(rows), dtype=np.int8)
    frame.insert(0, "route", _named_codes(none, [scenario.route]))
    frame.insert(0, "trial", np.full(len(rows), scenario.trial, dtype=np.int32))
    frame.insert(0, "step", np.full(len(rows), scenario.step, dtype=np.int32))
    frame.insert(0, "scenario_run", _named_codes(none, [scenario.label]))
    frame.insert(0, "scenario", _named_codes(none, [scenario.id]))
    return frame


def _attempts(rows: NDArray[np.void], scenario: Scenario) -> NDArray[np.int16]:
    """Which attempt of its request each row is: a worker writes those of one request in their order."""
    if scenario.redelivery is None:
        return np.ones(len(rows), dtype=np.int16)
    seqs = pd.Series(rows["seq"])
    return np.asarray(seqs.groupby(seqs).cumcount() + 1, dtype=np.int16)


def _named_codes(codes: NDArray[Any], names: Sequence[str]) -> pd.Series[Any]:
    """A categorical column from positions in ``names``."""
    return pd.Series(pd.Categorical.from_codes(pd.Index(codes), pd.Index(names)))


def _outcomes(
    rows: NDArray[np.void],
    scenario: Scenario,
    share_of_row: NDArray[np.int64],
    attempt: NDArray[np.int16],
    expected_status: Sequence[Mapping[RequestClass, tuple[int, ...]]],
) -> pd.Series[Any]:
    """The ``Outcome`` of each attempt; ``expected_status`` has the right answers to the first, and to the others."""
    code = np.full(len(rows), Outcome.INDETERMINATE.code, dtype=np.int8)
    answered = np.isin(rows["error_kind"], WHOLE_ANSWERS)
    as_expected = np.zeros(len(rows), dtype=bool)
    for number, part in enumerate(scenario.shares):
        first, again = (np.isin(rows["status"], right[part.request_class]) for right in expected_status)
        as_expected |= (share_of_row == number) & np.where(attempt == 1, first, again)
    code[answered & as_expected] = Outcome.ACKNOWLEDGED.code
    code[answered & ~as_expected] = Outcome.REFUSED.code
    code[rows["error_kind"] == ErrorKind.OTHER_BODY] = Outcome.REFUSED.code
    code[np.isin(rows["error_kind"], (ErrorKind.SKIPPED, ErrorKind.CONNECT))] = Outcome.NOT_SENT.code
    return _named_codes(code, [outcome.value for outcome in Outcome])
