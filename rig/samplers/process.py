"""One sampler in a process of its own, from the rig's side.

A context: the sampler is ready on entry and is ended on exit. If it dies, that is written into its journal, where the
checkers find it. It is no error here: the samples that it took until then are kept.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rig.errors import EvidenceError
from rig.evidence.journal import Journal
from rig.evidence.sample_files import journal_path
from rig.machine.child import READY_S, python_module, read_first_line, start
from rig.text import last_lines

_END_S = 3.0


class SamplerProcess:
    """Runs the module ``rig.samplers.<name>``. Its ``options`` may hold a secret, so they go through a pipe.

    ``facts`` is what it reported when it was ready, empty where it never was.
    """

    def __init__(self, name: str, folder: Path, options: Mapping[str, Any]) -> None:
        self.name = name
        self.facts: Mapping[str, Any] = {}
        self.failure = ""
        self._journal = journal_path(folder.absolute(), name)  # it works in another directory
        self._options = {**options, "journal": str(self._journal)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # So that there is a journal even if the sampler never writes one: its absence would say nothing.
        try:
            Journal(self._journal).close()
        except OSError as error:
            raise EvidenceError(f"{self._journal} cannot be written: {error.strerror}") from None
        self._process = process = start(
            python_module(f"rig.samplers.{self.name}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],  # so that ``-m rig.samplers`` is found without an installation, too
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(self._options).encode() + b"\n")
            process.stdin.flush()
        self._await_ready(process)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._require_process()
        if not self.failure:
            # If it is dead now, it ended by itself, before it was asked to.
            early = process.poll() is not None
            said = self._end(process)
            if early or process.returncode:
                self._fail(f"it ended {'before the run did ' if early else ''}({_ending(process.returncode)}{said})")
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    @property
    def alive(self) -> bool:
        """Whether it still takes samples."""
        return not self.failure and self._require_process().poll() is None

    @property
    def pid(self) -> int:
        return self._require_process().pid

    def _require_process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        line = read_first_line(process, READY_S)
        if line is None:
            process.kill()
            self._fail(f"it was not ready within {READY_S:g} s{self._end(process)}")
        elif not line:
            self._fail(f"it could not begin{self._end(process)}")
        else:
            self.facts = json.loads(line)

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """Ask it to end, and kill it if it does not; the last line that it wrote, to be added to a sentence."""
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                process.send_signal(number)
            try:
                _, said = process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                continue
            last = last_lines(said, if_none="")
            return f": {last}" if last else ""
        return ""

    def _fail(self, why: str) -> None:
        self.failure = why
        with suppress(OSError):  # perhaps the disk is full, which the next writer will report
            journal = Journal(self._journal)
            journal.failure(time.monotonic_ns(), why)
            journal.close()


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
