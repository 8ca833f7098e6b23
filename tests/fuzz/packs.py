"""Packs laid out to be spoilt: a copy, its hashes, what a judgement of it comes to."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from hypothesis import strategies as st

from rig.errors import ExitCode, RigError
from rig.evidence.hashes import SUMS, sums_text
from rig.verbs.check import recheck
from tests.fuzz.hostile import changed

VERDICTS = {ExitCode.PASS, ExitCode.FAIL, ExitCode.BELOW_FLOOR, ExitCode.INVALID, ExitCode.INTERRUPTED}


def laid(sealed: Path, folder: Path, name: str = "fuzzed") -> Path:
    """A copy of the pack, alone in its folder."""
    path = folder / "results" / name
    shutil.rmtree(path.parent, ignore_errors=True)
    shutil.copytree(sealed, path)
    return path


def files(pack: Path) -> list[str]:
    return sorted(path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_file())


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash: what is there, and unchanged."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def hashed_again(pack: Path) -> None:
    (pack / SUMS).unlink(missing_ok=True)
    (pack / SUMS).write_text(sums_text(pack))


def outcome(path: Path) -> ExitCode:
    """How ``rig check`` ends; anything but a verdict or an error of the rig's own is the test's failure."""
    try:
        return ExitCode(recheck(path).judgement.exit_code)
    except RigError as error:
        assert str(error)
        assert error.exit_code is not ExitCode.INTERNAL
        return error.exit_code


def json_files(pack: Path) -> list[str]:
    return [name for name in files(pack) if name.endswith(".json")]


def parquet_files(pack: Path) -> list[str]:
    return [name for name in files(pack) if name.endswith(".parquet")]


def changed_json(sealed: Path, data: st.DataObject) -> tuple[str, bytes]:
    name = data.draw(st.sampled_from(json_files(sealed)))
    document = data.draw(changed(json.loads((sealed / name).read_bytes())))
    return name, json.dumps(document).encode(errors="surrogatepass")
