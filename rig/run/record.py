"""A pack while its run goes on: what happens is written down as it happens, so that a crash leaves it.

Flow: ``Record.begin`` makes the pack. Each scenario run is announced before it starts and completed after it.
``mark_complete`` or ``mark_cut_short`` says how the run ended. ``judge`` loads the case from the files, judges it,
writes verdicts and reports, and seals. ``Record.reopen`` takes up a pack that was left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

import rig
import rig.report.documents
from rig.checks.judge import judgement_of
from rig.errors import EvidenceError, ExitCode, RigError
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Verdict
from rig.evidence.history import History, attempts_of_requests, outcomes_of_requests
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import UNENDED, Manifest
from rig.evidence.pack import Pack
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import RequestClass, RunKey, Scenario
from rig.profile import Profile
from rig.report.shown import GateShown
from rig.requests.targeter import Targeter
from rig.run.examples import find_examples
from rig.run.job import Job
from rig.run.request_finder import read_failing_gates
from rig.stats import hlog
from rig.target.secrets import Secrets
from rig.truth.expected import RunOutcomes, SentRequests
from rig.truth.reconcile import Baseline

_BASELINE = "truth/baseline.json"


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A judged run: its verdict and where its evidence lies. ``digest`` is None for a pack that is still open."""

    verb: str
    judgement: Judgement
    pack: Path
    digest: str | None
    certificate: Certificate | None
    failing: tuple[GateShown, ...] = ()
    """The failing gates with their examples."""

    @property
    def is_sealed(self) -> bool:
        """False when the pack waits for ``rig settle``."""
        return self.digest is not None

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        if self.verb == "calibrate":
            return self._calibration()
        return {
            "verdict": self.judgement.verdict.value,
            "exit_code": self.judgement.exit_code,
            "on_purpose": self.judgement.on_purpose,
            "gates": [asdict(gate) for gate in self.judgement.gates],
            "detection_power": [asdict(power) for power in self.judgement.detection_power],
            "diagnosis": asdict(self.judgement.diagnosis) if self.judgement.diagnosis else None,
            "pack": str(self.pack),
            "digest": self.digest,
        }

    def _calibration(self) -> dict[str, Any]:
        certificate = self.certificate
        median = certificate.median if certificate else None
        trials_rps = [round(trial.rps, 1) for trial in certificate.trials] if certificate else []
        return {
            "verdict": self.judgement.verdict.value,
            "exit_code": self.judgement.exit_code,
            "rps": certificate and round(certificate.rps, 1),
            "trials_rps": trials_rps,
            "rps_trials": trials_rps,  # its old name, for one release
            "floor_rps": certificate and certificate.floor_rps,
            "client_cpu_us_per_request": median and round(median.client_cpu_us_per_request, 2),
            "client_all_in_us_per_request": median and round(median.client_all_in_us_per_request, 2),
            "reason": certificate.reason if certificate else "interrupted",
            "explanation": certificate.explanation if certificate else "",
            "workers": certificate and certificate.workers,
            "churn_rps": certificate and certificate.churn_rps and round(certificate.churn_rps, 1),
            "latency_calibration": certificate.latency_calibration.document()
            if certificate and certificate.latency_calibration
            else None,
            "pack": str(self.pack),
        }


class Record:
    """The pack of a run and what its manifest says so far; ``secrets`` are what it must not hold.

    ``stays_open``: the truth was not read and can still be read, so the pack is judged but not sealed.
    """

    def __init__(self, pack: Pack, manifest: Manifest, profile: Profile) -> None:
        self.secrets = Secrets()
        self.pack = pack
        self.manifest = manifest
        self.history = History(pack.history_folder)
        self.profile = profile
        self.stays_open = False

    @property
    def key(self) -> RunKey:
        """What all keys and bodies of the run derive from. EvidenceError where the manifest does not say it."""
        if self.manifest.key is None:
            raise EvidenceError(f"{self.path} does not say what its keys derive from; nothing can be read for it")
        return self.manifest.key

    @cached_property
    def targeter(self) -> Targeter:
        """What makes the run's requests, and knows what must come of each."""
        return Targeter(self.profile, self.key)

    @classmethod
    def begin(cls, job: Job, key: RunKey, epoch_ns: int, fingerprint: Mapping[str, Any]) -> Record:
        """Make the pack and hold it; ConfigError when the results directory cannot be written to."""
        started = datetime.now(UTC)
        manifest = Manifest(
            rig_version=rig.__version__,
            verb=job.verb,
            argv=job.argv,
            left_out=job.left_out,
            seed=job.settings.seed,
            key=key,
            started_utc=started,
            epoch_monotonic_ns=epoch_ns,
            settings=job.settings.document(),
            profile=job.profile.model_dump(mode="json"),
            fingerprint={**fingerprint, "profile_sha256": job.profile.digest()},
            cut_short=UNENDED,
        )
        pack = Pack.create(job.settings.out, job.verb, job.settings.seed, started)
        pack.hold()
        record = cls(pack, manifest, job.profile)
        pack.write_manifest(manifest)
        return record

    def amend(self, **changes: Any) -> None:
        """Change the manifest and write it."""
        self.manifest = replace(self.manifest, **changes)
        self.pack.write_manifest(self.manifest)

    def note(self, text: str) -> None:
        """Add a note, which the report shows."""
        self.amend(notes=(*self.manifest.notes, text))

    def amend_fingerprint(self, **facts: Any) -> None:
        """Add facts about machine, target or database to the manifest."""
        self.amend(fingerprint={**self.manifest.fingerprint, **facts})

    def mark_complete(self) -> None:
        """Write down that the run did everything it was to do. Without that, nothing passes."""
        self.amend(cut_short="")

    def mark_cut_short(self, why: str) -> None:
        """Write down, also as a note, why the run cannot go on. A complete run stays so."""
        self.note(why)
        if self.manifest.cut_short:
            self.amend(cut_short=why)

    def keep_baseline(self, baseline: Baseline) -> None:
        """Write down what lay in the database before anything was sent."""
        self.pack.write(_BASELINE, TypeAdapter(Baseline).dump_json(baseline, indent=2))

    def baseline(self) -> Baseline:
        """What lay in the database before anything was sent; EvidenceError when that was not written down."""
        try:
            return TypeAdapter(Baseline).validate_json((self.path / _BASELINE).read_bytes())
        except (OSError, ValidationError) as error:
            raise EvidenceError(f"{self.path / _BASELINE} cannot be read: {error}") from None

    def announce(self, scenario: Scenario, workers: int) -> None:
        """Write down that a scenario run starts. If nothing follows, its keys are unreported, not unexpected."""
        started = ScenarioRun(scenario, (None,) * workers, notes=("the scenario run did not come to its end",))
        self.amend(scenario_runs=(*self.manifest.scenario_runs, started))

    def complete(self, report: ScenarioRun) -> pd.DataFrame:
        """Put the report in the place of the announcement; the rows of the scenario run, sealed."""
        rows = self.seal_rows(report.scenario)
        manifest = self.manifest
        epoch_unix_s = manifest.started_utc.timestamp()
        log = hlog(rows, epoch_ns=manifest.epoch_monotonic_ns, epoch_unix_s=epoch_unix_s)
        self.pack.write_histograms(report.scenario.label, log)
        kept = self.history.take_examples(report.scenario)
        targets, blank = self.targeter.bind(report.scenario), self.secrets.blank
        if found := tuple(find_examples(targets, rows, kept, blank)):
            self.pack.write_examples((*self.pack.examples(), *found))
        self.amend(scenario_runs=(*self.manifest.scenario_runs[:-1], report))
        return rows

    def seal_rows(self, scenario: Scenario) -> pd.DataFrame:
        """Turn what the workers wrote of a scenario run into history."""
        composition = self.targeter.bind(scenario).composition
        expected = {kind: self.profile.answer(kind, scenario.route).right for kind in RequestClass}
        again = {kind: self.profile.right_again(kind, scenario.route) for kind in RequestClass}
        return self.history.seal(scenario, composition.share, composition.tenant, expected, again)

    def seal_all_rows(self) -> None:
        """``seal_rows`` for every scenario run in the manifest."""
        for scenario_run in self.manifest.scenario_runs:
            self.seal_rows(scenario_run.scenario)

    def sent_requests(self) -> SentRequests:
        """Every request of every scenario run and what became of it, as the reconciliation needs it."""
        case = self.pack.load()
        found = []
        for scenario_run in self.manifest.scenario_runs:
            rows, scenario = case.rows_of(scenario_run), scenario_run.scenario
            codes = outcomes_of_requests(rows, scenario.count)
            attempts = None if scenario.redelivery is None else attempts_of_requests(rows, scenario.count)
            found.append(RunOutcomes(scenario, codes, attempts))
        return SentRequests(self.targeter, found, self.manifest.tenants)

    @classmethod
    def reopen(cls, pack: Pack) -> Record:
        """Take up a pack that was left, and hold it.

        EvidenceError when its manifest is damaged, UsageError while its run is still going on.
        """
        pack.hold()
        manifest = pack.manifest()
        try:
            profile = Profile.model_validate(manifest.profile)
        except ValidationError as error:
            raise EvidenceError(f"{pack.path}: the profile in its manifest is damaged: {error}") from None
        return cls(pack, manifest, profile)

    def judge(self, *, interrupted: bool = False, reports: bool = True) -> FinishedRun:
        """Judge what was gathered, write the verdicts and (if wanted) the reports, seal the pack and let it go.

        Secrets are removed first: the target, PostgreSQL and what a storm starts wrote the logs in the pack. A pack
        that ``stays_open`` is not sealed.
        """
        for name, count in self.secrets.clean(self.pack.logs_folder).items():
            self.note(f"logs/{name} held secrets of this run, {count} times; they were blanked there")
        self.history.close()
        self.amend(ended_utc=datetime.now(UTC))
        case = self.pack.load()
        judgement = judgement_of(case)
        if interrupted:
            judgement = lower_for_interrupt(judgement)
        self.pack.write_judgement(judgement)
        failing = read_failing_gates(self.pack, case, judgement)
        if reports:
            rig.report.documents.write(self.pack, self.manifest, case, judgement, failing)
        digest = None if self.stays_open else self.pack.seal()
        self.pack.let_go()
        return FinishedRun(self.manifest.verb, judgement, self.path, digest, case.certificate, failing)

    @property
    def path(self) -> Path:
        """Where the pack lies now."""
        return self.pack.path


def lower_for_interrupt(judgement: Judgement) -> Judgement:
    """The judgement of a run that was interrupted: a FAIL stays, and nothing passes."""
    verdict = Verdict.FAIL if judgement.verdict is Verdict.FAIL else Verdict.INVALID
    return replace(judgement, verdict=verdict, exit_code=int(ExitCode.INTERRUPTED))


@contextmanager
def conclude_on_error(record: Record, what: str) -> Iterator[None]:
    """When ``what`` (the run, the storm) raises RigError, judge what there is, and raise it again without secrets.

    A run that was cut short passes nothing, however good it was so far.
    """
    try:
        yield
    except RigError as error:
        reason = record.secrets.blank(str(error))  # it may quote the target's last words
        with suppress(EvidenceError):  # a full disk may be what ended the run
            record.mark_cut_short(f"the {what} could not go on: {reason}")
            record.judge()
        if not record.pack.is_sealed:
            room = "make room, then " if isinstance(error, EvidenceError) else ""
            reason = f"{reason}; what was gathered is kept; {room}finish it: rig settle {record.path}"
        raise type(error)(reason) from None
    except BaseException:  # an interrupt, or a fault of the rig itself: not judged, but no secret is left behind
        with suppress(EvidenceError):
            record.secrets.clean(record.pack.logs_folder)
        raise
