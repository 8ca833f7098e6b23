"""Adds S10 to what ``rig run`` and ``rig ladder`` send."""

from __future__ import annotations

from dataclasses import replace

from rig.errors import ConfigError, UsageError
from rig.evidence.shapes import S10
from rig.model import Scenario
from rig.profile import Profile
from rig.run.job import Job
from scenarios.s10 import MAIN, OTHERS, shapes


def add_shapes(job: Job, only: frozenset[str] | None, *, documented: bool) -> Job:
    """The job with S10 on each route, where it is asked for or nothing is.

    Left out, with the reason, where the profile says so or a run may not send so much; UsageError or ConfigError where
    it was asked for by name.
    """
    asked = only or job.profile.scenarios.only or ()
    if documented:
        return replace(job, is_documented=True)
    if asked and S10 not in asked:
        return job
    why = "" if job.profile.scenarios.shapes.kinds else "the profile leaves it out ([scenarios.shapes])"
    if not why:
        try:
            return replace(job, scenarios=(*job.scenarios, *shapes_scenarios(job.profile)))
        except UsageError as error:
            why = str(error)
    if asked:
        raise (UsageError if only else ConfigError)(f"{S10}: {why}")
    return replace(job, left_out={**job.left_out, S10: why})


def shapes_scenarios(profile: Profile) -> tuple[Scenario, ...]:
    """S10 on each route, for a tenant of its own where the rig makes any."""
    tenants = (profile.own_tenant("shapes"),)
    requests = profile.scenarios.shapes.requests
    return tuple(
        shapes(route.name, tenants, requests or (OTHERS if number else MAIN))
        for number, route in enumerate(profile.routes)
    )
