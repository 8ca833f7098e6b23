"""Standard streams that never make a verb fail, whoever reads them and in whichever encoding.

A run does not stop because a reader goes away (``rig run | head``), and no verdict is lost because a locale lacks a
character.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_STDERR = 2


class _QuietFile(io.FileIO):
    """A file whose reader may go away, or whose disk may be full; what is written after that is dropped."""

    def write(self, data: Any, /) -> int:
        """As any file's, but no OSError is raised: the verdict is in the pack. A full disk is named on stderr."""
        try:
            return super().write(data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and self.fileno() != _STDERR:
                with suppress(OSError):
                    os.write(_STDERR, f"rig: standard output cannot be written: {error.strerror}\n".encode())
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes


def forgive() -> None:
    """Replace the process's stdout and stderr; a stream that was closed stays so."""
    sys.stdout = _forgiving_stream(sys.stdout)
    sys.stderr = _forgiving_stream(sys.stderr)


def _forgiving_stream(stream: TextIO | None) -> Any:
    if stream is None:
        return None
    stream.flush()
    raw = io.BufferedWriter(_QuietFile(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(
        raw, encoding=stream.encoding, errors="backslashreplace", line_buffering=bool(stream.line_buffering)
    )
