"""What forbids or weakens a claim about two runs: other machines, other targets, other settings. Pure.

Flow: ``caveats_about`` lists what differs between two runs. One that ``blocks`` makes every difference meaningless:
another machine, a machine that others used meanwhile, a client that was not certified. Any other is only named. It may
be the very change that the comparison is for, such as a setting of the database or the version of the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rig.checks.samplers import span
from rig.diagnose import cpu
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.sample_names import Role
from rig.text import value_words

_MACHINE = ("cores", "cores_allowed", "cpu_quota_cores", "cpu_model", "memory_bytes", "core_planning")
_SOFTWARE = ("kernel", "python", "rig", "commit", "commit_dirty", "target_commit", "libraries", "database")
_BLOCKING_SETTINGS = ("workers",)
_SETTINGS = ("defects", "samplers", "latency_calibration")
_CERTIFYING = ("calibration.null", "accounting")
_FOREIGN = 0.15
"""The share of the machine that other processes and steal may take. An idle machine spends a few percent on itself."""
_BUSY = 0.5
"""A higher load average per core before the run means that others used the machine, where nobody sampled the run."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run of a comparison: ``name`` of the pack, ``digest`` of its hash list in hex, and what the pack holds."""

    name: str
    digest: str
    manifest: Manifest
    case: Case
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Caveat:
    """Something that differs between two runs, or is wrong in one. One that ``blocks`` forbids every claim."""

    what: str
    before: str
    after: str
    blocks: bool


def caveats_about(before: ComparedRun, after: ComparedRun) -> tuple[Caveat, ...]:
    """What differs; caveats that block a claim come first."""
    old, new = before.manifest, after.manifest
    caveats = [
        *_differences("machine", _MACHINE, old.fingerprint, new.fingerprint, blocks=True),
        *_differences("setting", _BLOCKING_SETTINGS, old.settings, new.settings, blocks=True),
        *_certificate_caveats(before.judgement, after.judgement),
        *_shared_machine_caveats(before, after),
        *_target_caveats(old.profile, new.profile),
        *_differences("version of", _SOFTWARE, old.fingerprint, new.fingerprint, blocks=False),
        *_differences("setting", _SETTINGS, old.settings, new.settings, blocks=False),
        *_differences("run's", ("verb", "seed"), _request_of(old), _request_of(new), blocks=False),
    ]
    return tuple(sorted(caveats, key=lambda caveat: not caveat.blocks))


def _request_of(manifest: Manifest) -> dict[str, Any]:
    return {"verb": manifest.verb, "seed": manifest.seed}


def _differences(
    kind: str, names: tuple[str, ...], before: Mapping[str, Any], after: Mapping[str, Any], *, blocks: bool
) -> Iterator[Caveat]:
    for name in names:
        for key, old, new in _leaves(name, before.get(name), after.get(name)):
            yield Caveat(f"{kind} {key}", value_words(old), value_words(new), blocks)


def _leaves(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ. Keys of nested tables are joined with dots."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _leaves(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield name, old, new


def _target_caveats(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Caveat]:
    """Another target blocks every claim. Other keys of the profile are only named."""
    if before.get("name") != after.get("name"):
        yield Caveat("target (name of the profile)", str(before.get("name")), str(after.get("name")), blocks=True)
        return
    for key, old, new in _leaves("profile", before, after):
        yield Caveat(key, value_words(old), value_words(new), blocks=False)


def _certificate_caveats(before: Judgement, after: Judgement) -> Iterator[Caveat]:
    """A client that was not certified, or whose counts contradict each other, allows no claim."""
    verdicts = [{gate.id: gate.verdict for gate in run.gates} for run in (before, after)]
    for name in _CERTIFYING:
        old, new = (run.get(name, Verdict.NOT_RUN) for run in verdicts)
        if not (old is new is Verdict.PASS):
            yield Caveat(f"gate {name}", old.value, new.value, blocks=True)


def _shared_machine_caveats(before: ComparedRun, after: ComparedRun) -> Iterator[Caveat]:
    """Others used the machine meanwhile, and may have caused the difference."""
    foreign = [_foreign_share(run.case) for run in (before, after)]
    seen = [share for share in foreign if share is not None]
    if seen and max(seen) >= _FOREIGN:
        old, new = ("not sampled" if share is None else f"{share:.0%} of it" for share in foreign)
        yield Caveat("others used the machine meanwhile", old, new, blocks=True)
    loads = [_load_per_core(run.manifest.fingerprint) for run in (before, after)]
    if len(seen) < 2 and max(loads) >= _BUSY:
        old, new = (f"{load:.1f} a core" for load in loads)
        yield Caveat("load of others before the run began", old, new, blocks=True)


def _foreign_share(case: Case) -> float | None:
    """The share that processes outside the run and steal took of the machine under load; None: nobody looked."""
    window = span(case)
    whole = cpu.machine(case.samples, *window) if window else None
    if window is None or whole is None or case.samples.pids.empty:
        return None
    return float(cpu.by_role(case.samples, *window).get(Role.OTHER, 0.0)) / whole.cores + whole.steal


def _load_per_core(fingerprint: Mapping[str, Any]) -> float:
    averages, cores = fingerprint.get("load_average"), fingerprint.get("cores_allowed") or fingerprint.get("cores")
    average = averages[0] if isinstance(averages, list | tuple) and averages else None
    if not isinstance(average, int | float) or not isinstance(cores, int | float) or cores <= 0:
        return 0.0
    return average / cores
