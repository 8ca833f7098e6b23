"""The JWKS origin and the tee before it, as child processes, and their ledgers read back.

Flow: ``counted_origin(folder, label)`` starts ``stub_server.jwks_origin`` and ``rig.storms.unknown_kid.proxy``; the
subject is given the tee's address. ``order`` changes what the origin does, a ``Tail`` reads what has been counted so
far.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rig.errors import RigError
from rig.evidence.key_storm import Fetch
from rig.machine.child import listening


@dataclass(frozen=True, slots=True)
class Counted:
    """A fetch and where it came from, as one ledger has it."""

    fetch: Fetch
    peer: str


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin behind a tee. ``port`` and ``url`` are the tee's."""

    port: int
    origin_ledger: Path
    tee_ledger: Path
    _process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where keys are fetched."""
        return f"http://127.0.0.1:{self.port}/.well-known/jwks.json"

    def order(self, **order: Any) -> None:
        """Tell the origin; RigError when it does not understand or is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            answer = json.loads(stdout.readline() or '{"done": false, "error": "it ended"}')
        except OSError as error:
            raise RigError(f"the JWKS origin cannot be told anything: {error}") from None
        if not answer["done"]:
            raise RigError(f"the JWKS origin refused an order: {answer['error']}")


@contextmanager
def counted_origin(folder: Path, label: str, port: int = 0) -> Iterator[Origin]:
    """Run both for the time of the context; ``port`` is the tee's (0: a free one). RigError when one does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    origin_ledger, tee_ledger = folder / f"{label}.origin.jsonl", folder / f"{label}.tee.jsonl"
    with listening("stub_server.jwks_origin", "--ledger", str(origin_ledger)) as (origin, origin_port):
        tee_arguments = ("--to", str(origin_port), "--port", str(port), "--ledger", str(tee_ledger))
        with listening("rig.storms.unknown_kid.proxy", *tee_arguments) as (_, tee_port):
            yield Origin(tee_port, origin_ledger, tee_ledger, origin)


class Tail:
    """A ledger read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._rest = ""
        self._starts: dict[int, Mapping[str, Any]] = {}
        self._ends: dict[int, Mapping[str, Any]] = {}

    def read(self) -> list[Counted]:
        """All fetches so far, in the order of their starts."""
        if self._file is None:
            self._file = self._path.open(encoding="utf-8")
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            event = json.loads(line)
            (self._starts if event["event"] == "start" else self._ends)[event["fetch"]] = event
        return [self._counted(number, start) for number, start in self._starts.items()]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _counted(self, number: int, start: Mapping[str, Any]) -> Counted:
        end = self._ends.get(number)
        fetch = Fetch(start["at_ns"], end["at_ns"] if end else None, end["outcome"] if end else "open")
        return Counted(fetch, start["peer"])


def read_ledger(path: Path) -> list[Counted]:
    """A whole ledger."""
    tail = Tail(path)
    try:
        return tail.read()
    finally:
        tail.close()
