"""All samplers of a run: they take samples during ``with sampling(plan, folder): …``.

Their samples are in the folder as Parquet afterwards, even after an error (``rig.evidence.sample_files``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from rig.evidence.sample_files import seal
from rig.evidence.sample_names import PG_ACTIVITY, PIDS, Role
from rig.machine.child import python_module
from rig.samplers.process import SamplerProcess
from rig.samplers.roles import Rule

PG_HZ = 20.0
PIDS_HZ = 5.0
_NOT_OF_THE_RIG = rf"^(?!{re.escape(' '.join(python_module('')))}|\S*postgres\b)"


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """What is sampled and how often. Without a DSN the database is left out."""

    dsn: str | None = field(repr=False)
    rules: tuple[Rule, ...] = ()
    pg_hz: float = PG_HZ


def plan_of_run(
    dsn: str,
    server_pid: int | None,
    server_match: str | None,
    workers: Sequence[int],
    listeners: Sequence[int] = (),
    leader: int | None = None,
) -> SamplingPlan:
    """What a run samples: its load processes, the target's, PostgreSQL's, and itself.

    ``server_pid`` is a target that the rig launched. Of one that runs already ``server_match`` finds the processes;
    without it they are the ``listeners`` at its port. ``leader``: the process that leads the run, where it is not this
    one.
    """
    server = Rule(Role.SERVER, tuple(listeners))
    if server_pid is not None:
        server = Rule(Role.SERVER, (server_pid,))
    elif server_match is not None:
        server = Rule(Role.SERVER, match=server_match)
    # Workers that replace dead ones are found by the command line that multiprocessing gives them.
    client = Rule(Role.CLIENT, tuple(workers), match="spawn_main", below=os.getpid())
    own = (os.getpid(),) if leader is None else (os.getpid(), leader)
    rules = [server, client, Rule(Role.RIG, own)]
    if server_pid is not None:
        # A process of the target that lost its parent is a child of the rig (``rig.machine.orphans``), and so is a
        # target that was started again. What the rig runs itself is of its session, one of its modules, or PostgreSQL.
        rules.insert(0, Rule(Role.SERVER, match=_NOT_OF_THE_RIG, below=os.getpid(), not_in=os.getsid(0)))
    return SamplingPlan(dsn, tuple(rules))


@dataclass(frozen=True, slots=True)
class Samplers:
    """The samplers that run. ``leave_database`` ends the one in the database, before somebody breaks that."""

    processes: tuple[SamplerProcess, ...]
    leave_database: Callable[[], None]


@contextmanager
def sampling(plan: SamplingPlan, folder: Path) -> Iterator[Samplers]:
    """Run the samplers of a plan. If one cannot begin, or dies, the evidence says so (``SamplerReport.failure``)."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.callback(seal, folder)
        samplers = []
        backend = None
        in_database = stack.enter_context(ExitStack())
        if plan.dsn is not None:
            options = {"dsn": plan.dsn, "hz": plan.pg_hz}
            activity = in_database.enter_context(SamplerProcess(PG_ACTIVITY, folder, options))
            samplers.append(activity)
            if activity.facts:
                facts = activity.facts
                backend = {"pid": facts["backend_pid"], "started_unix": facts["backend_started_unix"]}
        rig = psutil.Process()
        options = {
            "hz": PIDS_HZ,
            "rules": [asdict(rule) for rule in plan.rules],
            "samplers": [sampler.pid for sampler in samplers],
            "backend": backend,
            "aside": [os.getpid(), *(process.pid for process in rig.parents())],
        }
        samplers.append(stack.enter_context(SamplerProcess(PIDS, folder, options)))
        yield Samplers(tuple(samplers), in_database.close)
