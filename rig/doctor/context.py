"""The target under examination, and what is known of it so far. Every step reads it; few write to it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rig.doctor.sample_requests import SampleRequest, SampleResult
from rig.evidence.truth import TruthReport
from rig.machine.supervisor import Supervisor
from rig.model import RunKey
from rig.profile import Profile
from rig.requests.targeter import Targeter
from rig.settings import Settings
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.target.launch import LiveTarget
from rig.target.secrets import Secrets
from rig.target.store import Store
from rig.target.tenants import Tenancy
from rig.truth.reader import TruthReader
from rig.truth.reconcile import Baseline


@dataclass
class DoctorContext:
    """``stack`` holds open what the examination started; the fields below ``key`` are filled in by the steps."""

    path: Path
    settings: Settings
    environ: Mapping[str, str]
    supervisor: Supervisor
    stack: ExitStack
    logs: Path
    key: RunKey
    secrets: Secrets = field(default_factory=Secrets)
    """What no step may say."""
    profile: Profile = field(init=False)
    store: Store = field(init=False)
    target: LiveTarget = field(init=False)
    tenancy: Tenancy = field(init=False)
    baseline: Baseline = field(init=False)
    sample_requests: Sequence[SampleRequest] = ()
    results: dict[str, list[SampleResult]] = field(default_factory=dict)
    """By the names of the specimens."""
    truth: TruthReport = field(init=False)

    @staticmethod
    def new_key(seed: int, now_unix: int) -> RunKey:
        """A run of its own: its events meet no others."""
        return RunKey(seed, uuid.uuid4().hex[:12], now_unix)

    @property
    def launched(self) -> bool:
        """Whether the target is started here, and not found running."""
        return self.profile.launch is not None

    @property
    def endpoint(self) -> Endpoint:
        """Where the target listens."""
        if not self.launched:
            return Endpoint.parse(self.profile.target.base_url or "", self.profile.target.ca_file)
        return self.target.endpoint

    @property
    def reader(self) -> TruthReader:
        """Who reads the truth."""
        return TruthReader(self.profile, self.store.truth_dsn)

    @cached_property
    def targeter(self) -> Targeter:
        """Who makes the events."""
        endpoint = self.endpoint
        return Targeter(self.profile, self.key, host=endpoint.host_header, base_path=endpoint.base_path)

    @property
    def probing(self) -> HttpProbe:
        """Who asks the probes, with their patience."""
        return HttpProbe(self.endpoint, self.profile.probes.timeout_s)
