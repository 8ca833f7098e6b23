"""What a member of the fleet does in a key storm: make the verifier, warm it, wait for the release, hand it tokens.

Every client is a thread, so that one measures how known keys are served while another waits for a fetch. Every member
imports this module: it imports nothing heavy, and pandas is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass, field
from inspect import isawaitable
from itertools import count, cycle, islice, repeat
from typing import Any

from rig.evidence.bad_tokens import ENDS_PROCESSES, is_refusal
from rig.evidence.incident import Incident, Mishap
from rig.evidence.key_case import Token, TokenClient
from rig.evidence.verifier_settings import VerifierTraits
from rig.storms.fleet import Barrier
from rig.storms.unknown_kid.call_journal import CallJournal, shown
from rig.storms.unknown_kid.keyring import ISSUER, unknown_token
from rig.storms.unknown_kid.subjects import Verify, load

_FORGED_EVERY = 20
_JOIN_GRACE_S = 30.0
_WARM_S = 5.0
_WARM_PAUSE_S = 0.05
_LAPSE_LEAST_S = 1.0
_LAPSED_CALLS = 20
_PAST_S = 1.1
"""Some compare whole seconds, and accept a token in the second of its end."""
_HUNG = "Hung"
_LOG_FORMAT = "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"

Call = tuple[str, int, int, bool, str]
"""token, start_ns, end_ns (0: it is not over), accepted, error."""


@dataclass(frozen=True, slots=True)
class MemberScript:
    """What every member does. ``forged`` are kinds and tokens; ``lapsing``: an end (s since 1970), and two tokens that
    end then. ``clients`` have numbers as ``count``.

    ``warm``: verify a known token before the release. ``journal`` is the folder of ``CallJournal``. Libraries of the
    subject write their warnings to ``log_file``.
    """

    factory: str
    path: str
    module_dir: str
    environ: dict[str, str] = field(repr=False)
    journal: str
    log_file: str
    known: tuple[str, ...] = field(repr=False)
    unnamed: tuple[str, ...] = field(repr=False)
    rotated: str = field(repr=False)
    forged: tuple[tuple[str, str], ...] = field(repr=False)
    lapsing: tuple[tuple[int, str, str], ...] = field(repr=False)
    traits: VerifierTraits = field(default_factory=VerifierTraits)
    clients: tuple[TokenClient, ...] = ()
    warm: bool = True


@dataclass(frozen=True, slots=True)
class CallerReport:
    """What a member brings back; ``fetches`` as the subject counts them, None where it does not."""

    calls: list[Call]
    incidents: list[Incident]
    fetches: int | None


def call_verifier(number: int, script: MemberScript, barrier: Barrier) -> CallerReport:
    """The work of one member (see ``rig.storms.fleet``)."""
    logging.basicConfig(handlers=[logging.FileHandler(script.log_file, delay=True)], format=_LOG_FORMAT)
    if script.path:
        sys.path.insert(0, script.path)
    sys.path.append(script.module_dir)
    os.environ.update(script.environ)  # for libraries that look there
    verifier = load(script.factory)({**os.environ, "RIG_STORM_MEMBER": str(number)})
    verify = _AnswerNow(verifier)
    clients = [
        _Client(verify, script, one, CallJournal(script.journal, number, place), number)
        for place, one in enumerate(script.clients)
    ]
    if script.warm:
        _warm_up(verify, script.known[0], CallJournal(script.journal, number, len(clients)))
    done = threading.Event()
    released_ns = barrier()
    threads = [threading.Thread(target=client.run, args=(released_ns, done), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread, one in zip(threads, script.clients, strict=True):
        if not one.background:
            thread.join()
    done.set()
    for thread in threads:
        thread.join(_JOIN_GRACE_S)
    given_up_ns = time.monotonic_ns()
    calls = [(*call[:2], call[2] or given_up_ns, *call[3:]) for client in clients for call in client.calls]
    incidents = [incident for client in clients for incident in client.incidents.values()]
    if callable(close := getattr(verifier, "close", None)):
        close()
    return CallerReport(calls, incidents, getattr(verifier, "fetches", None))


class _AnswerNow:
    """The subject's ``verify`` as a function that has the answer when it returns, also where it is asynchronous."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def __call__(self, token: str) -> object:
        answer = self._verify(token)
        return (
            asyncio.run_coroutine_threadsafe(_wait_for(answer), self._running()).result()
            if isawaitable(answer)
            else answer
        )

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
            return self._loop


async def _wait_for(answer: Awaitable[object]) -> object:
    return await answer


def _warm_up(verify: Verify, token: str, journal: CallJournal) -> None:
    """Verify a known token, so that this process has seen its key. An exception that does not go away ends the member.

    All processes do so at about the same time, and one fetches. A process that waits for it longer than its wait
    timeout refuses the token, as it may, and is asked again: before the release nobody is judged.
    """
    deadline = time.monotonic() + _WARM_S
    while True:
        journal.begin("known", token)
        try:
            verify(token)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(_WARM_PAUSE_S)
        else:
            return
        finally:
            journal.end()


def _tokens(client: TokenClient, script: MemberScript, number: int) -> Iterator[tuple[str, str]]:
    """Kind and token; what a bounded client sends is made before the release."""
    match client.token:
        case Token.KNOWN:
            return zip(repeat("known"), cycle(script.known), strict=False)
        case Token.UNNAMED:
            return zip(repeat("unnamed"), cycle(script.unnamed), strict=False)
        case Token.ROTATED | Token.WITHDRAWN:
            return repeat((client.token.value, script.rotated))
        case Token.LAPSED:
            return _lapse(script.lapsing)
        case Token.FORGED:
            return iter(script.forged)
    forged = islice(cycle(script.forged), number * 7 % max(1, len(script.forged)), None)  # each member begins elsewhere
    issuer = script.environ.get("JWKS_ISSUER", ISSUER)
    unknown = (("unknown", unknown_token(algorithm, issuer)) for algorithm in cycle(script.traits.algorithms))
    endless = (next(forged if turn % _FORGED_EVERY == 0 else unknown) for turn in count(1))
    return iter(list(islice(endless, client.count))) if client.count else endless


def _lapse(lapsing: Iterable[tuple[int, str, str]]) -> Iterator[tuple[str, str]]:
    """Tokens around the end of their time. Where several processes share a port, each should get some."""
    for end_s, seen, new in lapsing:
        if end_s - time.time() >= _LAPSE_LEAST_S:
            yield from repeat(("lapsed valid", seen), _LAPSED_CALLS)
            time.sleep(max(0.0, end_s + _PAST_S - time.time()))
            yield from repeat(("lapsed new", new), _LAPSED_CALLS)
            yield from repeat(("lapsed seen", seen), _LAPSED_CALLS)
            return


class _Client:
    """One thread of a member: hands over tokens at its pace, and notes what came of each."""

    def __init__(
        self, verify: Verify, script: MemberScript, client: TokenClient, journal: CallJournal, number: int
    ) -> None:
        self.calls: list[Call] = []
        self.incidents: dict[tuple[str, str], Incident] = {}
        """The first of each kind of token and error."""
        self._verify = verify
        self._client = client
        self._journal = journal
        self._number = number
        self._refuses_with = script.traits.refuses_with
        self._tokens = _tokens(client, script, number)

    def run(self, released_ns: int, done: threading.Event) -> None:
        """Until the client's time or its tokens are over. A call is noted before it is made: it may never end."""
        client = self._client
        due = time.monotonic() + client.from_s
        until_ns = released_ns + round(client.until_s * 1e9)
        for kind, token in islice(self._tokens, client.count or None):
            if done.wait(max(0.0, due - time.monotonic())) or time.monotonic_ns() >= until_ns:
                return
            due = max(due + client.pace_s, time.monotonic())
            self.calls.append((kind, time.monotonic_ns(), 0, False, _HUNG))
            self._journal.begin(kind, token)
            self.calls[-1] = call = _call(self._verify, kind, token)
            self._journal.end()
            self._note(call, token)

    def _note(self, call: Call, token: str) -> None:
        kind, _, _, accepted, error = call
        is_bad = Token.of(kind) in (Token.UNKNOWN, Token.FORGED)
        is_error = not accepted and not is_refusal(error, self._refuses_with)
        if (is_bad and accepted) or (is_error and (is_bad or Token.of(kind) is Token.UNNAMED)):
            mishap = Mishap.ACCEPTED if accepted else Mishap.ERROR
            self.incidents.setdefault((kind, error), Incident(mishap, self._number, kind, error, shown(kind, token)))


def _call(verify: Verify, kind: str, token: str) -> Call:
    """One call. ``False`` is a refusal, and so is any exception, even one that would end the process."""
    start_ns = time.monotonic_ns()
    try:
        error = "False" if verify(token) is False else ""
    except BaseException as raised:
        error = _name(raised)
    return (kind, start_ns, time.monotonic_ns(), not error, error)


def _name(error: BaseException) -> str:
    """The class, and for a fleet behind HTTP the status: never a message, which may quote a token."""
    name = type(error).__name__
    if not isinstance(error, Exception):
        return f"{ENDS_PROCESSES} {name}"
    detail: Any = error.args[0] if error.args else ""
    return f"{name} {detail}" if str(detail).isalnum() and len(str(detail)) < 24 else name
