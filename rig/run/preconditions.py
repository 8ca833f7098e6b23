"""What can be known to be wrong before anything takes time. It imports nothing heavy: the answer comes at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.model import tenants_of
from rig.run.job import Job
from rig.target.launch import reach
from rig.target.tenants import check_tenants


def require_possible(job: Job, environ: Mapping[str, str]) -> None:
    """RigError where a run cannot begin: no certificate, a tenant or a secret is missing, or nobody listens."""
    if job.settings.certificate is not None:
        from rig.run.reuse import read_earlier

        read_earlier(Path(job.settings.certificate))
    if not job.scenarios:
        return
    check_tenants(job.profile, tenants_of(job.scenarios), environ)
    if job.profile.launch is None:
        reach(job.profile, job.settings)
