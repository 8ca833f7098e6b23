"""The folder of a pack: made, held by one process, written whole files at a time, sealed with hashes, verified.

Flow: ``create`` makes ``<UTC>-<verb>-<seed>.partial``. Files are written into it during the run, each whole or not at
all. ``seal`` writes the hashes and drops the suffix with one rename. A folder with the suffix belongs to a run that
still goes or has crashed (``hold`` tells the two apart); one without is finished and never written to again. ``verify``
says whether a byte was changed since. Not for what the files hold (``rig.evidence.pack``).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.hashes import SUMS, IntegrityCheck, check_integrity, read_bounded, require_hashes, sums_text, walk
from rig.evidence.parquet import read_frame, write_frame
from rig.evidence.schema import translate
from rig.text import record_lines

T = TypeVar("T")

PARTIAL = ".partial"
MANIFEST = "manifest.json"
_TEMPORARY = ".being-written"
_DOCUMENT_BYTES_MOST = 1 << 28
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class PackFolder:
    """One evidence folder; ``path`` loses its ``.partial`` when it is sealed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._let_go: Callable[[], object] = lambda: None

    @classmethod
    def create(cls, results: Path, verb: str, seed: int, started_utc: datetime) -> Self:
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
    def open(cls, path: Path) -> Self:
        """An existing pack, finished or not. EvidenceError where the folder is none."""
        try:
            path = path.resolve()
            there = (path / MANIFEST).is_file()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise EvidenceError(f"{path} is no evidence pack: {error}") from None
        if not there:
            packs = sorted(path.glob(f"*/{MANIFEST}"), key=lambda manifest: manifest.stat().st_mtime_ns)
            newest = f"; the newest pack in it is {packs[-1].parent}" if packs else ""
            raise EvidenceError(f"{path} is no evidence pack: it has no {MANIFEST}{newest}")
        return cls(path)

    @classmethod
    def open_intact(cls, path: Path) -> Self:
        """As ``open``; EvidenceError also for a finished pack of which a byte was changed."""
        pack = cls.open(path)
        if pack.is_sealed:
            pack.require_intact()
        return pack

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
        return self.path.name.removesuffix(PARTIAL)

    @property
    def history_folder(self) -> Path:
        """Where ``rig.evidence.history`` writes."""
        return self.path / "history"

    @property
    def samples_folder(self) -> Path:
        return self.path / "samples"

    @property
    def logs_folder(self) -> Path:
        """Where processes that the rig starts write their logs."""
        return self.path / "logs"

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

    def _write_value(self, name: str, value: object, kind: Any, without: str | None = None) -> None:
        """Write a value of that type as JSON; ``without`` one of its fields."""
        text = _adapter(kind).dump_json(value, exclude={without} if without else None, fallback=_plain)
        self.write(name, (record_lines(json.loads(text)) + "\n").encode())

    def _write_frame(self, name: str, frame: pd.DataFrame) -> None:
        write_frame(frame, data := io.BytesIO())
        self.write(name, data.getvalue())

    def _frame(self, name: str, columns: Sequence[str], nothing: pd.DataFrame) -> pd.DataFrame:
        return read_frame(self.path / name, columns) if self._has(name) else nothing

    def _has(self, name: str) -> bool:
        path = self.path / name
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise EvidenceError(f"{path} cannot be read: {error.strerror}") from None
        return True

    def _read(self, name: str, kind: type[T]) -> T:
        """A value of that type from a JSON file. EvidenceError names the file, and what is wrong with it."""
        path, data = self.path / name, self._read_bytes(name)
        try:
            document = translate(name, _adapter(Any).validate_json(data))
            return cast(T, _adapter(cast(Any, kind)).validate_python(document))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "(whole file)"
            raise EvidenceError(f"{path} is damaged: {where}: {first['msg']}") from None

    def _read_bytes(self, name: str) -> bytes:
        """A whole file, of no more bytes than any run writes; errors as ``read_bounded``."""
        return read_bounded(self.path / name, _DOCUMENT_BYTES_MOST)

    def _find(self, name: str, kind: type[T]) -> T | None:
        """As ``_read``; None where the file is missing."""
        return self._read(name, kind) if self._has(name) else None

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

    def verify(self) -> IntegrityCheck:
        """Hash every file again. EvidenceError for a pack that is not finished."""
        if not self.is_sealed:
            raise EvidenceError(f"{self.path} is not finished: run `rig settle` on it first")
        return check_integrity(self.path)

    def require_intact_files(self, *names: str) -> None:
        """Hash some files of a finished pack again. EvidenceError where one was changed; no other is looked at."""
        if self.is_sealed:
            require_hashes(self.path, names)

    def require_intact(self) -> str:
        """Hash every file of a finished pack again, and return its digest. EvidenceError where one was changed."""
        checked = self.verify()
        if not checked.intact:
            raise EvidenceError(f"{self.path} was changed: {checked.sentence}")
        return checked.digest


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
