"""Standard streams that take every verdict to its exit code, whoever reads them and in whichever encoding.

A reader that goes (``rig run | head``) is no reason to stop in the middle of a run, and a character that a locale does
not have none to lose its verdict.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class _Unheard(io.FileIO):
    """A file whose reader may go: what is written afterwards is dropped."""

    def write(self, data: Any, /) -> int:
        """As any file's; BrokenPipeError is never raised."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes


def forgive() -> None:
    """Replace the process's stdout and stderr; a stream that was closed stays so."""
    sys.stdout = _forgiving(sys.stdout)
    sys.stderr = _forgiving(sys.stderr)


def _forgiving(stream: TextIO | None) -> Any:
    if stream is None:
        return None
    stream.flush()
    raw = io.BufferedWriter(_Unheard(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(
        raw, encoding=stream.encoding, errors="backslashreplace", line_buffering=bool(stream.line_buffering)
    )
