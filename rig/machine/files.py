"""Opening a file that somebody names, which may be a pipe that never ends; and where the rig's own documents are."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import rig

_END_BYTES = 1 << 16


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting; OSError in words where it is none."""
    try:
        # A pipe that nobody writes to would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the path
        raise OSError(str(error)) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device"
    raise OSError(f"it is a {kind}, and a file is needed")


def read_end(path: Path) -> bytes:
    """The end of a log, whose beginning may be of any length; OSError where it cannot be read."""
    with open_file(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
        return file.read(_END_BYTES)


def documents_folder() -> Path | None:
    """Where ``docs`` is: in the installed package, or beside it in a checkout. None where it was left out."""
    package = Path(rig.__file__).parent
    return next((each for each in (package / "docs", package.parent / "docs") if each.is_dir()), None)
