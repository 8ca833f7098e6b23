"""Opening a file that somebody names, which may be a pipe that never ends; and where the rig's own documents are."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import rig


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting; OSError in words where it is none."""
    # A pipe that nobody writes to would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device"
    raise OSError(f"it is a {kind}, and a file is needed")


def documents_folder() -> Path | None:
    """Where ``docs`` is: in the installed package, or beside it in a checkout. None where it was left out."""
    package = Path(rig.__file__).parent
    return next((each for each in (package / "docs", package.parent / "docs") if each.is_dir()), None)
