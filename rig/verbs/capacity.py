"""``rig capacity`` with other numbers of serving processes."""

from __future__ import annotations

from dataclasses import replace

from rig.errors import UsageError
from rig.run.job import Job

_PROCESSES = "{processes}"


def with_processes(job: Job, processes: int) -> Job:
    """The job against so many serving processes. UsageError where the rig does not decide how many serve."""
    launch = job.profile.launch
    if launch is None or not any(_PROCESSES in word for word in (*launch.command, *launch.env.values())):
        raise UsageError(
            f"--processes: the profile {job.profile.name!r} has no launch command with {_PROCESSES}, so the rig cannot "
            "start the target with so many; leave the option out"
        )
    changed = launch.model_copy(update={"processes": processes})
    return replace(job, profile=job.profile.model_copy(update={"launch": changed}))
