"""What a member of the fleet does in a key storm: make the subject, warm it, wait for the release, ask.

Every lane is a thread, so that a known key's way is measured while another of the same process waits for a fetch.
Imported by every member: nothing heavy, and pandas is.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle, repeat
from typing import Any

from rig.storms.fleet import Barrier
from rig.storms.unknown_kid.keyring import Forger
from rig.storms.unknown_kid.subjects import Verify, load

_FORGED_EVERY = 20
_JOIN_GRACE_S = 30.0
_WARM_S = 5.0
_WARM_PAUSE_S = 0.05
_HUNG = "Hung"

Call = tuple[str, int, int, bool, str]
"""token, start_ns, end_ns (0: it is not over), accepted, error."""


@dataclass(frozen=True, slots=True)
class Part:
    """A lane as a member gets it: plain values. ``calls`` 0: until the end; times in seconds from the release."""

    token: str
    calls: int
    pace_s: float
    from_s: float
    until_s: float
    beside: bool


@dataclass(frozen=True, slots=True)
class Script:
    """What every member of a fleet is to do. ``known_key_id`` is what forged tokens name.

    ``warm``: verify a known token before the release.
    """

    factory: str
    path: str
    environ: dict[str, str] = field(repr=False)
    known: tuple[str, ...] = field(repr=False)
    known_key_id: str
    rotated: str = field(repr=False)
    parts: tuple[Part, ...] = ()
    warm: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """What a member brings back; ``fetches`` as the subject counts them, None where it does not."""

    calls: list[Call]
    fetches: int | None


def storm(number: int, script: Script, barrier: Barrier) -> Told:
    """The work of one member (see ``rig.storms.fleet``)."""
    if script.path:
        sys.path.insert(0, script.path)
    os.environ.update(script.environ)  # for libraries that look there
    verify = load(script.factory)({**os.environ, "RIG_STORM_MEMBER": str(number)})
    lanes = [(part, _tokens(part, script)) for part in script.parts]
    if script.warm:
        _warm(verify, script.known[0])
    done = threading.Event()
    calls: list[list[Call]] = [[] for _ in lanes]
    released_ns = barrier()
    threads = [
        threading.Thread(target=_ask, args=(verify, part, tokens, released_ns, done, calls[index]), daemon=True)
        for index, (part, tokens) in enumerate(lanes)
    ]
    for thread in threads:
        thread.start()
    for thread, part in zip(threads, script.parts, strict=True):
        if not part.beside:
            thread.join()
    done.set()
    for thread in threads:
        thread.join(_JOIN_GRACE_S)
    given_up_ns = time.monotonic_ns()
    told = [(*call[:2], call[2] or given_up_ns, *call[3:]) for lane in calls for call in lane]
    return Told(told, getattr(verify, "fetches", None))


def _warm(verify: Verify, token: str) -> None:
    """Verify a known token, so that this process has seen its key; what it raises at last is the member's end.

    All processes come here at about the same time, and one fetches. Who waits for it no longer than its patience is
    refused, which is its right, and asks again: this is before the storm, and nobody is judged yet.
    """
    deadline = time.monotonic() + _WARM_S
    while True:
        try:
            verify(token)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(_WARM_PAUSE_S)
        else:
            return


def _tokens(part: Part, script: Script) -> Iterator[tuple[str, str]]:
    """Kind and token, without end; what must be signed for a bounded lane is signed before the release."""
    match part.token:
        case "known":
            return zip(repeat("known"), cycle(script.known), strict=False)
        case "rotated":
            return repeat(("rotated", script.rotated))
    forger = Forger(script.known_key_id)
    endless = (
        ("forged", forger.forged()) if turn % _FORGED_EVERY == 0 else ("unknown", forger.unknown()) for turn in count(1)
    )
    return iter([next(endless) for _ in range(part.calls)]) if part.calls else endless


def _ask(
    verify: Verify,
    part: Part,
    tokens: Iterator[tuple[str, str]],
    released_ns: int,
    done: threading.Event,
    calls: list[Call],
) -> None:
    """One lane: ask, note, keep the pace. A call is noted before it is made: one that never ends is a refusal."""
    due = time.monotonic() + part.from_s
    until_ns = released_ns + round(part.until_s * 1e9)
    for turn in count(1):
        if done.wait(max(0.0, due - time.monotonic())) or time.monotonic_ns() >= until_ns:
            return
        due = max(due + part.pace_s, time.monotonic())
        kind, token = next(tokens)
        calls.append((kind, time.monotonic_ns(), 0, False, _HUNG))
        calls[-1] = _call(verify, kind, token)
        if part.calls and turn >= part.calls:
            return


def _call(verify: Verify, kind: str, token: str) -> Call:
    start_ns = time.monotonic_ns()
    error = ""
    try:
        verify(token)
    except Exception as raised:  # whatever a subject raises is its way to refuse
        error = _name(raised)
    return (kind, start_ns, time.monotonic_ns(), not error, error)


def _name(error: Exception) -> str:
    """The class, and for a fleet behind HTTP the status: never a message, which may quote a token."""
    name = type(error).__name__
    detail: Any = error.args[0] if error.args else ""
    return f"{name} {detail}" if str(detail).isalnum() and len(str(detail)) < 24 else name
