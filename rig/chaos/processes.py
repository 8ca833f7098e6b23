"""Faults of the service's processes: killed, stopped, deployed, short of CPU or memory."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from random import Random

import psutil

from rig.chaos.fault import ChaosTarget, Fault, Struck
from rig.machine.child import python_module, wait_until
from rig.machine.processes import born_s
from rig.machine.quota import Quota, QuotaUnavailable, open_cpu_quota, open_memory_limit
from rig.target.http_probe import HttpProbe

_BOUND_CORES = 0.1
_PROBES, _PROBE_TIMEOUT_S = 16, 2.0


def _needs_launch(target: ChaosTarget) -> str:
    return "" if target.live.service is not None else "the rig did not start the service ([launch])"


def _needs_several(target: ChaosTarget) -> str:
    if why := _needs_launch(target):
        return why
    return "" if len(target.serving()) > 1 else "the service has one serving process"


def _needs_group(open_group: Callable[[], AbstractContextManager[Quota]]) -> Callable[[ChaosTarget], str]:
    def missing(target: ChaosTarget) -> str:
        if why := _needs_launch(target):
            return why
        try:
            with open_group():
                return ""
        except (QuotaUnavailable, OSError) as error:
            return str(error)

    return missing


@contextmanager
def _kill_one(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    count = len(target.serving())
    struck = _signal([chance.choice(target.serving())], signal.SIGKILL)
    yield struck
    _await_processes(target, count, struck)


@contextmanager
def _kill_all(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    everything = target.all_processes()
    struck = _signal(everything, signal.SIGKILL)
    psutil.wait_procs(everything, _wait_s(target))
    yield struck
    target.revive()


@contextmanager
def _stop_one(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    with _stop(target, [chance.choice(target.serving())]) as struck:
        yield struck


@contextmanager
def _stop_all(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    with _stop(target, target.all_processes()) as struck:
        yield struck


@contextmanager
def _stop(target: ChaosTarget, processes: list[psutil.Process]) -> Iterator[Struck]:
    marks = [f"{process.pid}:{born_s(process)}" for process in processes]
    with target.supervisor.undone_at_end([*python_module("rig.chaos.undo"), "continue", *marks]):
        yield _signal(processes, signal.SIGSTOP)


@contextmanager
def _deploy_one_by_one(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    struck, processes = Struck(), target.serving()
    for process in processes:
        struck.processes += _signal([process], signal.SIGTERM).processes
        psutil.wait_procs([process], _wait_s(target))
        _await_processes(target, len(processes), struck)
    yield struck


@contextmanager
def _deploy(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    assert target.live.service is not None
    struck = Struck([process.pid for process in target.all_processes()])
    target.live.service.stop()
    target.live.service.start(target.launch_env)
    yield struck


@contextmanager
def _bound_cpu(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    processes = [process.pid for process in target.all_processes()]
    with _open_cpu_quota() as quota:
        quota.hold(processes)
        yield Struck(processes)


@contextmanager
def _bound_memory(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    """The kernel kills a process that needs more, and what is started in its place."""
    count, processes = len(target.serving()), [process.pid for process in target.all_processes()]
    struck = Struck(processes)
    with _open_memory_limit() as quota:
        quota.hold(processes)
        yield struck
        killed = quota.count_killed()
        struck.has_crashed = killed > 0
        struck.notes.append(f"the kernel killed {killed} processes")
    _await_processes(target, count, struck)


def _open_cpu_quota() -> AbstractContextManager[Quota]:
    return open_cpu_quota(_BOUND_CORES)


def _open_memory_limit() -> AbstractContextManager[Quota]:
    return open_memory_limit(0)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> Struck:
    struck = Struck()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            struck.processes.append(process.pid)
    return struck


def _await_processes(target: ChaosTarget, count: int, struck: Struck) -> None:
    """Until as many processes serve as before. Where the service does not see to that, start it again."""
    service = target.live.service
    assert service is not None
    is_whole = wait_until(
        lambda: service.has_ended or (len(target.serving()) >= count and _answers(target)), None, _wait_s(target)
    )
    if service.has_ended:
        return  # whoever healed it says so
    if not is_whole:
        struck.notes.append("the service did not replace the process; the rig started the service again")
        struck.is_relaunched = True
        service.stop()
        service.start(target.launch_env)


def _answers(target: ChaosTarget) -> bool:
    """Whether new connections are answered, whichever process they come to; a new one listens before it serves."""
    path = target.profile.probes.ready or target.profile.probes.health
    probe = HttpProbe(target.live.endpoint, _PROBE_TIMEOUT_S)
    return path is None or all(probe.get(path).is_good for _ in range(_PROBES))


def _wait_s(target: ChaosTarget) -> float:
    assert target.profile.launch is not None
    return target.profile.launch.stop_timeout_s


_HELD_S = (0.5, 3.0)

PROCESS_FAULTS = (
    Fault("process-killed", "one serving process is killed (SIGKILL)", _needs_several, _kill_one, is_crash=True),
    Fault(
        "service-killed",
        "all processes of the service are killed, and it is launched again",
        _needs_launch,
        _kill_all,
        is_crash=True,
    ),
    Fault("process-stopped", "one serving process stands still (SIGSTOP)", _needs_several, _stop_one, _HELD_S),
    Fault("service-stopped", "all processes of the service stand still (SIGSTOP)", _needs_launch, _stop_all, _HELD_S),
    Fault(
        "rolling-deploy",
        "serving processes are replaced one after another (SIGTERM)",
        _needs_several,
        _deploy_one_by_one,
    ),
    Fault("deploy", "the service is ended (SIGTERM) and launched again", _needs_launch, _deploy),
    Fault("cpu-bound", f"the service may use {_BOUND_CORES:g} of a core", _needs_group(_open_cpu_quota), _bound_cpu),
    Fault(
        "memory-bound",
        "the service may take no more memory than it has; the kernel kills what needs more",
        _needs_group(_open_memory_limit),
        _bound_memory,
        _HELD_S,
    ),
)
