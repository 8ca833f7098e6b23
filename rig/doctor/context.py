"""What the doctor knows of the target so far. Every step reads it; a few add to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rig.doctor.findings import Correction
from rig.doctor.sample_requests import SampleRequest, SampleResult
from rig.errors import ConfigError
from rig.evidence.truth import TruthReport
from rig.machine.supervisor import Supervisor
from rig.model import RunKey
from rig.profile import Profile, parse_profile
from rig.profile.edit import Write, in_words, paste
from rig.requests.targeter import Targeter
from rig.settings import Settings
from rig.target.endpoint import Endpoint, TlsFiles
from rig.target.http_probe import HttpProbe
from rig.target.launch import LiveTarget
from rig.target.secrets import Secrets
from rig.target.store import Store
from rig.target.tenants import Tenancy
from rig.truth.reader import TruthReader
from rig.truth.reconcile import Baseline


@dataclass
class DoctorContext:
    """``stack`` keeps open what the examination started. The steps fill in the fields below ``key``."""

    path: Path
    settings: Settings
    environ: Mapping[str, str]
    supervisor: Supervisor
    stack: ExitStack
    logs: Path
    key: RunKey
    secrets: Secrets = field(default_factory=Secrets)
    """What no step may print."""
    profile: Profile = field(init=False)
    store: Store = field(init=False)
    target: LiveTarget = field(init=False)
    tenancy: Tenancy = field(init=False)
    baseline: Baseline = field(init=False)
    sample_requests: Sequence[SampleRequest] = ()
    results: dict[str, list[SampleResult]] = field(default_factory=dict)
    """How the sample requests were answered, by their names."""
    truth: TruthReport = field(init=False)
    corrected: str = ""
    """The text of the profile with the corrections so far."""

    def correct(self, writes: Iterable[Write]) -> tuple[Correction, ...]:
        """What to write into the profile for some changes, which later ones take for made."""
        corrections = []
        for write in writes:
            edit = paste(self.corrected, write)
            if edit is None:
                corrections.append(Correction(*in_words(write)))
            elif self._is_another_profile(edit.profile):
                corrections.append(Correction(edit.where, edit.text))
                self.corrected = edit.profile
        return tuple(corrections)

    def _is_another_profile(self, text: str) -> bool:
        with suppress(ConfigError):
            return parse_profile(text, self.path) != parse_profile(self.corrected, self.path)
        return False

    def take_corrected_answers(self) -> None:
        """Go on as if the profile said of answers what the corrections say."""
        corrected = parse_profile(self.corrected, self.path)
        pairs = zip(self.profile.routes, corrected.routes, strict=True)
        routes = tuple(own.model_copy(update={"answers": other.answers}) for own, other in pairs)
        self.profile = self.profile.model_copy(update={"answers": corrected.answers, "routes": routes})
        self.__dict__.pop("targeter", None)  # it has the answers of before

    @property
    def is_launched(self) -> bool:
        """Whether the doctor starts the target; else it was running before."""
        return self.profile.launch is not None

    @property
    def endpoint(self) -> Endpoint:
        """Where the target listens."""
        if not self.is_launched:
            return Endpoint.parse(self.profile.target.base_url or "", TlsFiles.of(self.profile.target))
        return self.target.endpoint

    @property
    def reader(self) -> TruthReader:
        return TruthReader(self.profile, self.store.truth_dsn)

    @cached_property
    def targeter(self) -> Targeter:
        """The maker of the events."""
        return Targeter(self.profile, self.key, self.endpoint.address)

    @property
    def probe(self) -> HttpProbe:
        """Requests the paths of ``probes``, with their timeout."""
        return HttpProbe(self.endpoint, self.profile.probes.timeout_s)
