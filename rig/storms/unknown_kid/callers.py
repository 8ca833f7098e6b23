"""What a member of the fleet does in a key storm: make the verifier, warm it, wait for the release, hand it tokens.

Every client is a thread, so that one measures how known keys are served while another waits for a fetch. Every member
imports this module: it imports nothing heavy, and pandas is.
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

from rig.evidence.key_case import Token, TokenClient
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
class MemberScript:
    """What every member does. ``known_key_id`` is the key id in forged tokens. ``clients`` have numbers as ``count``.

    ``warm``: verify a known token before the release.
    """

    factory: str
    path: str
    environ: dict[str, str] = field(repr=False)
    known: tuple[str, ...] = field(repr=False)
    known_key_id: str
    rotated: str = field(repr=False)
    clients: tuple[TokenClient, ...] = ()
    warm: bool = True


@dataclass(frozen=True, slots=True)
class CallerReport:
    """What a member brings back; ``fetches`` as the subject counts them, None where it does not."""

    calls: list[Call]
    fetches: int | None


def call_verifier(number: int, script: MemberScript, barrier: Barrier) -> CallerReport:
    """The work of one member (see ``rig.storms.fleet``)."""
    if script.path:
        sys.path.insert(0, script.path)
    os.environ.update(script.environ)  # for libraries that look there
    verify = load(script.factory)({**os.environ, "RIG_STORM_MEMBER": str(number)})
    tokens = [_tokens(client, script) for client in script.clients]
    if script.warm:
        _warm_up(verify, script.known[0])
    done = threading.Event()
    calls: list[list[Call]] = [[] for _ in script.clients]
    released_ns = barrier()
    threads = [
        threading.Thread(target=_run_client, args=(verify, *each, released_ns, done), daemon=True)
        for each in zip(script.clients, tokens, calls, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread, client in zip(threads, script.clients, strict=True):
        if not client.background:
            thread.join()
    done.set()
    for thread in threads:
        thread.join(_JOIN_GRACE_S)
    given_up_ns = time.monotonic_ns()
    report = [(*call[:2], call[2] or given_up_ns, *call[3:]) for of_client in calls for call in of_client]
    return CallerReport(report, getattr(verify, "fetches", None))


def _warm_up(verify: Verify, token: str) -> None:
    """Verify a known token, so that this process has seen its key. An exception that does not go away ends the member.

    All processes do so at about the same time, and one fetches. A process that waits for it longer than its wait
    timeout refuses the token, as it may, and is asked again: before the release nobody is judged.
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


def _tokens(client: TokenClient, script: MemberScript) -> Iterator[tuple[str, str]]:
    """Kind and token, without end; what must be signed for a bounded client is signed before the release."""
    match client.token:
        case Token.KNOWN:
            return zip(repeat("known"), cycle(script.known), strict=False)
        case Token.ROTATED:
            return repeat(("rotated", script.rotated))
    forger = Forger(script.known_key_id)
    endless = (
        ("forged", forger.forged_token()) if turn % _FORGED_EVERY == 0 else ("unknown", forger.unknown_token())
        for turn in count(1)
    )
    return iter([next(endless) for _ in range(client.count)]) if client.count else endless


def _run_client(
    verify: Verify,
    client: TokenClient,
    tokens: Iterator[tuple[str, str]],
    calls: list[Call],
    released_ns: int,
    done: threading.Event,
) -> None:
    """Hand over tokens at the client's pace. A call is noted before it is made: one that never ends is a refusal."""
    due = time.monotonic() + client.from_s
    until_ns = released_ns + round(client.until_s * 1e9)
    for turn in count(1):
        if done.wait(max(0.0, due - time.monotonic())) or time.monotonic_ns() >= until_ns:
            return
        due = max(due + client.pace_s, time.monotonic())
        kind, token = next(tokens)
        calls.append((kind, time.monotonic_ns(), 0, False, _HUNG))
        calls[-1] = _call(verify, kind, token)
        if client.count and turn >= client.count:
            return


def _call(verify: Verify, kind: str, token: str) -> Call:
    start_ns = time.monotonic_ns()
    error = ""
    try:
        verify(token)
    except Exception as raised:  # any exception of a subject is a refusal
        error = _name(raised)
    return (kind, start_ns, time.monotonic_ns(), not error, error)


def _name(error: Exception) -> str:
    """The class, and for a fleet behind HTTP the status: never a message, which may quote a token."""
    name = type(error).__name__
    detail: Any = error.args[0] if error.args else ""
    return f"{name} {detail}" if str(detail).isalnum() and len(str(detail)) < 24 else name
