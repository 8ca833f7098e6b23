"""A run of the rig that a test strikes: started as a user starts it, watched from outside, looked at afterwards.

Flow: ``Workshop`` is all of the disk that a run may use; ``Struck`` is the run. A test waits for something that can be
seen from outside (``until_acknowledged``, ``until_stage``), strikes a process that this very run started (``part``),
and takes the ``Aftermath``, which has seen to it that no process, port or temporary directory of the run is left.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray

from rig.errors import ErrorKind, ExitCode
from rig.evidence.scenario_runs import RESULT
from rig.machine.processes import alive, words
from rig.machine.registry import MARKER
from rig.profile import bundled_profile
from tests.cli.commands import QUICK, Ended, Going, only_pack
from tests.waiting import wait_until

SERVICE = "stub_server.service"
WORKER = "spawn_main"
LOAD = ("perf", "-n", "5000", "--trials", "1", "--max-seconds", "100")
"""A closed loop. It sends no faster than it is answered, so a strike comes before its end on a busy machine, too."""
ENDLESS = ("perf", "--rate", "100", "--seconds", "60")

_LAUNCH = "[launch]"


class Workshop:
    """A folder that holds all that a run may write: its results, its temporary files; and the profile that it reads.

    The reference profile, but its probes may take five seconds: a busy machine is not the fault that is looked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.temporary = folder / "tmp"
        self.profile = folder / "profile.toml"
        self.runs: list[Struck] = []
        self.temporary.mkdir()
        self.temporary.chmod(0o755)  # the account that runs PostgreSQL for root must get in
        self.profile.write_text(bundled_profile().read_text().replace("[probes]\n", "[probes]\ntimeout_s = 5\n", 1))
        self.service = folder / "reference.service.toml"
        self.service.write_text(bundled_profile().with_name(self.service.name).read_text())

    def close(self) -> None:
        """End what a failed test left running."""
        for run in self.runs:
            run.close()

    def service_gives_up_soon(self) -> None:
        """A service that waits one second for a connection of its pool, not five."""
        self.service.write_text(self.service.read_text().replace("pool_timeout_s = 5.0", "pool_timeout_s = 1.0"))

    def quiet_within(self, seconds: float) -> None:
        """The profile of a database that is waited for so long."""
        text = self.profile.read_text()
        self.profile.write_text(text.replace("[truth]\n", f"[truth]\nquiesce_timeout_s = {seconds}\n", 1))

    def target_runs_at(self, url: str) -> None:
        """The profile of a target that is not the rig's to start."""
        text = self.profile.read_text()
        launch = text[text.index(_LAUNCH) : text.index("[headers]")]
        self.profile.write_text(text.replace(launch, f'[target]\nbase_url = "{url}"\n\n'))


@dataclass(frozen=True)
class Aftermath:
    """What a run left: its exit code, what it said, its pack."""

    ended: Ended
    pack: Path

    @property
    def code(self) -> int:
        """Exit code."""
        return self.ended.code

    @property
    def err(self) -> str:
        """What it said on stderr."""
        return self.ended.err

    @property
    def sealed(self) -> bool:
        """Whether the pack is finished."""
        return not self.pack.name.endswith(".partial")

    @cached_property
    def judgement(self) -> dict[str, Any]:
        """The verdicts that lie in the pack."""
        judgement: dict[str, Any] = json.loads((self.pack / "verdicts.json").read_text())
        return judgement

    @cached_property
    def gates(self) -> dict[str, dict[str, Any]]:
        """The gates by name."""
        return {gate["id"]: gate for gate in self.judgement["gates"]}

    def verdict(self, gate: str) -> str:
        """What became of a gate."""
        return str(self.gates[gate]["verdict"])

    @cached_property
    def history(self) -> pd.DataFrame:
        """Every request."""
        return pd.read_parquet(self.pack / "history")

    def discrepancies(self) -> pd.DataFrame:
        """Every key that is not clean."""
        return pd.read_csv(self.pack / "truth" / "unclean.csv")

    def told(self, code: ExitCode, verdict: str) -> None:
        """Exit code and verdict are these, and everything was kept: no fault may leave less."""
        judged = self.judgement["verdict"]
        assert (self.code, judged) == (code, verdict), f"{self.err}{self.judgement}"
        assert len(self.history), "the requests are kept"
        for name in ("summary.md", "report.html", "junit.xml", "manifest.json"):
            assert (self.pack / name).stat().st_size, name


class Struck:
    """A run of the rig that goes on, in a workshop."""

    def __init__(self, workshop: Workshop, *words: str, env: Mapping[str, str] | None = None) -> None:
        self._workshop = workshop
        options = ("--profile", str(workshop.profile), "--out", str(workshop.results), *QUICK, "--json")
        self._going = Going([*words, *options], {**(env or {}), "TMPDIR": str(workshop.temporary)})
        self._started: set[psutil.Process] = set()
        self._ports: set[int] = set()
        self._token = ""
        workshop.runs.append(self)

    def close(self) -> None:
        """Kill the rig, if it still runs; its reaper does the rest."""
        if self._going.process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                self._remember()
            self._going.process.kill()
            self._going.end()
            wait_until(lambda: not self._left())

    @property
    def process(self) -> psutil.Process:
        """The rig's own."""
        return psutil.Process(self._going.process.pid)

    @property
    def pack(self) -> Path:
        """The pack, finished or not."""
        return only_pack(self._workshop.results)

    # --- the right moment ---

    def until_stage(self, said: str) -> None:
        """Until the run says on stderr that it has come so far."""
        self._going.wait_for(said)
        self._remember()

    def until_acknowledged(self, requests: int = 100) -> None:
        """Until so many requests of the load behind the warm-up have got their 200, by the rows on the rig's disk."""
        self.until_stage("[2/2]")
        self.until(lambda: self._answered() >= requests)

    def until_failed(self, kind: ErrorKind, requests: int = 1) -> None:
        """Until so many requests of the load have ended so."""
        self.until(lambda: int((self._rows()["error_kind"] == kind).sum()) >= requests)

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll, as long as the run goes on."""

        def holds() -> bool:
            assert self._going.process.poll() is None, (
                f"the run ended before it could be struck: {self._going.end().err}"
            )
            return condition()

        wait_until(holds)

    def answered_badly(self) -> int:
        """How many requests of the load got an answer of status 500 or above so far."""
        return int((self._rows()["status"] >= 500).sum())

    def _answered(self) -> int:
        return int((self._rows()["status"] == 200).sum())

    def _rows(self) -> NDArray[np.void]:
        data = b""
        for file in (self.pack / "history" / ".raw").glob("*.rows"):
            if not file.name.startswith("warm-up"):
                with suppress(FileNotFoundError):  # sealed meanwhile
                    data += file.read_bytes()
        return np.frombuffer(data[: len(data) // RESULT.itemsize * RESULT.itemsize], dtype=RESULT)

    # --- whom to strike ---

    def parts(self, word: str) -> list[psutil.Process]:
        """The processes below the rig whose command line holds a word."""
        return [process for process in _descendants(self.process) if any(word in said for said in words(process))]

    def part(self, word: str) -> psutil.Process:
        """The only one."""
        (process,) = self.parts(word)
        return process

    # --- afterwards ---

    def signal(self, number: int) -> None:
        """Send a signal to the rig alone."""
        self.process.send_signal(number)

    def aftermath(self) -> Aftermath:
        """Wait for its end; nothing of the run is left then, or AssertionError."""
        with suppress(psutil.NoSuchProcess):
            self._remember()
        ended = self._going.end(60)
        wait_until(lambda: not self._left())
        return Aftermath(ended, only_pack(self._workshop.results))

    def _remember(self) -> None:
        """Whoever runs for this run now, and the ports that they listen on."""
        for process in _descendants(self.process):
            self._started.add(process)
            line = words(process)
            if "rig.machine.supervisor" in line:
                self._token = line[-1]
            with suppress(psutil.Error):
                self._ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}

    def _left(self) -> str:
        """What is left of the run, in words; empty when nothing is."""
        assert self._token, "the run never had a reaper"
        processes = [process.pid for process in self._started if alive(process)]
        processes += [process.pid for process in psutil.process_iter() if token_of(process) == self._token]
        ports = [port for port in self._ports if listens(port)]
        directories = [path.name for path in self._workshop.temporary.iterdir()]
        return f"{processes} {ports} {directories}" if processes or ports or directories else ""


def limited(process: psutil.Process, resource: int, limit: int) -> None:
    """Give a process a limit of the kernel's from now on."""
    assert sys.platform == "linux"
    process.rlimit(resource, (limit, process.rlimit(resource)[1]))


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


def token_of(process: psutil.Process) -> str | None:
    """The run that a living process belongs to by its marker; None where it has none."""
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARKER) if alive(process) else None
    return None


def listens(port: int) -> bool:
    """Whether anybody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
