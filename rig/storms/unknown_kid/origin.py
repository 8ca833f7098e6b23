"""The JWKS origin and its recording proxy as child processes, and their ledgers read back.

Flow: ``open_origin(folder, label)`` starts ``stub_server.jwks_origin`` and ``rig.storms.unknown_kid.proxy``; the
subject gets the proxy's address. ``change`` changes what the origin does; a ``LedgerTail`` reads what has been counted
so far.
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
class CountedFetch:
    """A fetch and where it came from, as one ledger has it."""

    fetch: Fetch
    peer: str


@dataclass(frozen=True, slots=True)
class RecordedOrigin:
    """An origin behind its recording proxy. ``port`` and ``url`` are the proxy's."""

    port: int
    origin_ledger: Path
    proxy_ledger: Path
    _process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where keys are fetched."""
        return f"http://127.0.0.1:{self.port}/.well-known/jwks.json"

    @property
    def discovery_url(self) -> str:
        """Where it says where keys are fetched (OpenID Connect Discovery)."""
        return f"http://127.0.0.1:{self.port}/.well-known/openid-configuration"

    def issuer(self, name: str) -> str:
        """The issuer of that name, with its address in place of ``{origin}``."""
        return name.replace("{origin}", f"http://127.0.0.1:{self.port}")

    def change(self, **request: Any) -> None:
        """Change what the origin does; RigError where it refuses or is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            answer = json.loads(stdout.readline() or '{"done": false, "error": "it ended"}')
        except OSError as error:
            raise RigError(f"the JWKS origin cannot be reached: {error}") from None
        if not answer["done"]:
            raise RigError(f"the JWKS origin refused a change: {answer['error']}")


@contextmanager
def open_origin(folder: Path, label: str, port: int = 0) -> Iterator[RecordedOrigin]:
    """Run both for the time of the context; ``port`` is the proxy's (0: a free one).

    RigError where one does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin_ledger, proxy_ledger = folder / f"{label}.origin.jsonl", folder / f"{label}.tee.jsonl"
    with listening("stub_server.jwks_origin", "--ledger", str(origin_ledger)) as (origin, origin_port):
        proxy_arguments = ("--to", str(origin_port), "--port", str(port), "--ledger", str(proxy_ledger))
        with listening("rig.storms.unknown_kid.proxy", *proxy_arguments) as (_, proxy_port):
            yield RecordedOrigin(proxy_port, origin_ledger, proxy_ledger, origin)


class LedgerTail:
    """Reads a ledger as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._rest = ""
        self._starts: dict[int, Mapping[str, Any]] = {}
        self._ends: dict[int, Mapping[str, Any]] = {}

    def read(self) -> list[CountedFetch]:
        """All fetches so far, in the order of their starts."""
        if self._file is None:
            self._file = self._path.open(encoding="utf-8")
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "discovery":  # a request for where the keys are is no fetch of them
                del self._starts[event["fetch"]]
                continue
            (self._starts if event["event"] == "start" else self._ends)[event["fetch"]] = event
        return [self._fetch_of(number, start) for number, start in self._starts.items()]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _fetch_of(self, number: int, start: Mapping[str, Any]) -> CountedFetch:
        end = self._ends.get(number)
        fetch = Fetch(start["at_ns"], end["at_ns"] if end else None, end["outcome"] if end else "open")
        return CountedFetch(fetch, start["peer"])


def read_ledger(path: Path) -> list[CountedFetch]:
    """All fetches of a ledger that is complete."""
    tail = LedgerTail(path)
    try:
        return tail.read()
    finally:
        tail.close()
