"""Which token a verifier was dealing with when its process died: noted before each call, where a death cannot take it.

Every client of every member has a file of its own in one folder. Members of a fleet import this module: it imports
nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rig.evidence.key_case import Token

_SHOWN = 400
"""So many characters of a token are kept."""
_OPEN, _DONE = b"1", b"0"


def shown(kind: str, token: str) -> str:
    """A bad token, cut off; nothing of a valid one."""
    return token[:_SHOWN] if Token.of(kind) in (Token.UNKNOWN, Token.FORGED) else ""


class CallJournal:
    """The last call of one client."""

    def __init__(self, folder: str, member: int, client: int) -> None:
        self._file = os.open(Path(folder, f"{member}-{client}"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def begin(self, kind: str, token: str) -> None:
        note = f"\t{kind}\t{shown(kind, token)}\n"
        os.pwrite(self._file, _OPEN + note.encode("utf-8", "backslashreplace"), 0)

    def end(self) -> None:
        os.pwrite(self._file, _DONE, 0)


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that did not come back."""

    member: int
    kind: str
    token: str


def read_open_calls(folder: Path) -> Iterator[OpenCall]:
    """The calls of all clients that did not come back, by number of member."""
    for path in sorted(folder.iterdir(), key=lambda path: [int(part) for part in path.name.split("-")]):
        state, _, rest = path.read_text(encoding="utf-8").partition("\t")
        if state == _OPEN.decode():
            kind, _, token = rest.partition("\n")[0].partition("\t")
            yield OpenCall(int(path.name.partition("-")[0]), kind, token)
