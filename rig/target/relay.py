"""The relay: a process between sender and service, or between service and database, that breaks the way when told to.

Flow: ``with Relay(upstream) as relay`` starts the process. Whoever connects to ``relay.address`` reaches ``upstream``;
the relay passes bytes on and reads none of them, so it takes HTTP and PostgreSQL alike. ``cut``, ``hold``, ``delay``,
``throttle``, ``mute`` and ``half_open`` replace each other, and ``heal`` ends all. Each returns once it holds for every
connection. ``rig/target/relaying.py`` is what the process does.

What a relay cannot imitate: while the upstream refuses connections, the relay accepts them and resets them at once.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

from rig.errors import RigError
from rig.machine.child import READY_S, listening, read_first_line

Direction = Literal["requests", "answers"]
"""What flows from whoever connects to the upstream, and what flows back."""


@dataclass(frozen=True)
class Way:
    """How bytes pass. ``silent`` directions pass none; while any is silent, no side is told that the other closed."""

    is_cut: bool = False
    silent: tuple[Direction, ...] = ()
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    """0: as fast as they come."""
    loses: bool = False
    """The connections that are there lose their upstream, and nobody tells the other side. New ones pass."""

    @property
    def is_whole(self) -> bool:
        """Whether bytes of new connections pass as fast as they come."""
        return replace(self, loses=False) == Way()


class Relay:
    """A context in which the relay listens on ``address``; for one thread at a time.

    ``upstream`` is a host and port, or the path of a Unix socket. The process ends with the context, and also when the
    rig dies. All connections through it end then.
    """

    def __init__(self, upstream: tuple[str, int] | Path) -> None:
        self._arguments = [str(upstream)] if isinstance(upstream, Path) else [upstream[0], str(upstream[1])]
        self._context = ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> Self:
        self._process, port = self._context.enter_context(listening("rig.target.relaying", *self._arguments))
        self.address = ("127.0.0.1", port)
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    @property
    def pid(self) -> int:
        return self._get_process().pid

    def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        self._become(Way(is_cut=True))

    def hold(self) -> None:
        """Pass no bytes and close nothing. New connections are accepted, and reach the upstream once it is healed."""
        self._become(Way(silent=("requests", "answers")))

    def mute(self, silent: Direction = "answers") -> None:
        """Pass the bytes of one direction only, and tell neither side that the other has closed.

        A new connection needs both directions: it waits as in ``hold``.
        """
        self._become(Way(silent=(silent,)))

    def half_open(self) -> None:
        """Close the upstream's side of all connections, and do not tell the other (RFC 9293, 3.5.1).

        What the other side sends is taken and lost, also after ``heal``. New connections pass.
        """
        self._become(Way(loses=True))

    def delay(self, ms: float) -> None:
        """Pass all bytes so much later, in each direction. Connections are made without delay."""
        self._become(Way(delay_s=ms / 1e3))

    def throttle(self, bytes_per_s: float) -> None:
        """Pass at most so many bytes a second in each direction, over all connections together."""
        self._become(Way(bytes_per_s=bytes_per_s))

    def heal(self) -> None:
        """Pass on at once all that was kept, bytes and closes, and from now on what comes."""
        self._become(Way())

    def _become(self, way: Way) -> None:
        process = self._get_process()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(asdict(way)) + "\n")
            process.stdin.flush()
            is_done = bool(read_first_line(process, READY_S))
        except BrokenPipeError:
            is_done = False
        if not is_done:
            raise RigError(
                f"the relay to {':'.join(self._arguments)} does not answer; its process may have been killed"
            )

    def _get_process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "enter the relay first"
        return self._process
