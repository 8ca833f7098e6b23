"""Which profile a verb uses where none is named, and what is said of it first.

``--profile`` comes first, then ``rig.toml`` of the current folder or the nearest folder above it, then the variable
``RIG_PROFILE``. Where none is there, the rig judges its own reference service. That service gets a database of the
rig's own, because the database of the environment belongs to somebody: only ``--reference`` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rig.errors import ConfigError, RigError, UsageError
from rig.profile.load import bundled_profile, load_profile
from rig.profile.whole import Profile
from rig.text import one_line

FILE_NAME = "rig.toml"
VARIABLE = "RIG_PROFILE"
NOTHING_FOUND = f"no {FILE_NAME} found: judging the built-in reference service"


class Origin(StrEnum):
    """Where a profile was named."""

    OPTION = "--profile"
    FOLDER = FILE_NAME
    VARIABLE = VARIABLE
    REFERENCE = "--reference"
    NOTHING = "nothing was found"


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """The file to use, and where it was named."""

    path: Path
    origin: Origin

    def load(self, *, storms_suffice: bool = False) -> Profile:
        """The profile; ConfigError where it is wrong. ``storms_suffice``: it may have nothing but ``[storms]``."""
        return load_profile(self.path, storms_suffice=storms_suffice)

    def words(self, prefix: str = "--") -> tuple[str, ...]:
        """The words that make the same choice on another command line, in the same folder."""
        match self.origin:
            case Origin.REFERENCE:
                return (f"{prefix}reference",)
            case Origin.NOTHING:
                return ()
            case _:
                return (f"{prefix}profile", str(self.path))

    def environment(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """The environment for a run: without the DSNs of somebody's database where nobody chose the reference."""
        if self.origin is not Origin.NOTHING:
            return environ
        truth = self.load().truth
        return {name: value for name, value in environ.items() if name not in (truth.dsn_env, truth.runtime_dsn_env)}

    def introduction(self, environ: Mapping[str, str], port: int = 0) -> str:
        """What a verb says first: target, URL and profile. A profile that cannot be loaded is named alone."""
        try:
            profile = self.load()
        except RigError:
            return one_line(f"profile {self.path}")
        database = profile.truth.dsn_env
        if self.origin is Origin.NOTHING:
            unused = f"\n{database} is not used: the reference service gets a database of its own (else: --reference)"
            return NOTHING_FOUND + (unused if environ.get(database) else "")
        launched = f"launched by the rig at 127.0.0.1:{port}" if port else "launched by the rig at a free port"
        url = launched if profile.target.base_url is None else f"at {profile.target.base_url}"
        kept = f", in the database of {database}" if self.origin is Origin.REFERENCE and environ.get(database) else ""
        named = f" ({VARIABLE})" if self.origin is Origin.VARIABLE else ""
        return one_line(f"target {profile.name}, {url}{kept}, profile {self.path}{named}")


def find_profile(
    given: Path | None, *, reference: bool, environ: Mapping[str, str], folder: Path | None = None
) -> ProfileChoice:
    """The profile of a command in ``folder`` (None: the current one).

    UsageError where two were asked for, ConfigError where the variable names none.
    """
    if given is not None and reference:
        raise UsageError("give --profile or --reference, not both")
    if given is not None:
        return ProfileChoice(given, Origin.OPTION)
    if reference:
        return ProfileChoice(bundled_profile(), Origin.REFERENCE)
    for each in _folders(folder):
        if (path := each / FILE_NAME).is_file():
            return ProfileChoice(path, Origin.FOLDER)
    if named := environ.get(VARIABLE):
        if not Path(named).is_file():
            raise ConfigError(one_line(f"{VARIABLE} names {named}, which is no file; correct it, or unset it"))
        return ProfileChoice(Path(named).absolute(), Origin.VARIABLE)
    return ProfileChoice(bundled_profile(), Origin.NOTHING)


def _folders(start: Path | None) -> Iterator[Path]:
    """The folder and those above it, but none that holds the home folders of several people."""
    try:
        here = Path.cwd() if start is None else start.absolute()
        homes = Path.home().parent
    except RuntimeError:  # nobody has a home here
        return
    yield here
    for folder in here.parents:
        if folder == homes:
            return
        yield folder
