"""What stands between two runs and a claim: other machines, other targets, other settings. Pure.

Flow: ``caveats_about`` holds two runs against each other and lists what differs. A doubt that ``blocks`` makes every
figure's difference meaningless (another machine, a machine that others used meanwhile, an uncertified client); any
other may be the very change that the comparison is for (a setting of the database, the version of the rig or the
target), or a fair reason to look twice (another seed), and is only named.
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
from rig.report.compared_run import ComparedRun
from rig.text import value_words

_MACHINE = ("cores", "cores_allowed", "cpu_quota_cores", "cpu_model", "memory_bytes", "core_planning")
_SOFTWARE = ("kernel", "python", "rig", "commit", "commit_dirty", "target_commit", "libraries", "database")
_SETTINGS_THAT_BAR = ("workers",)
_SETTINGS = ("defects", "samplers", "latency_calibration")
_CERTIFYING = ("calibration.null", "accounting")
_FOREIGN = 0.15
"""Share of the machine that others (and steal) may take: what they took, the run might have had. A machine that has
nothing else to do spends a few percent on itself."""
_BUSY = 0.5
"""Load average per core before the run from which on the machine was not its own, where nobody looked meanwhile."""


@dataclass(frozen=True, slots=True)
class Caveat:
    """Something that differs between two runs, or is wrong in one. One that ``blocks`` forbids every claim."""

    what: str
    before: str
    after: str
    blocks: bool


def caveats_about(before: ComparedRun, after: ComparedRun) -> tuple[Caveat, ...]:
    """What differs, that which blocks a claim first."""
    old, new = before.manifest, after.manifest
    caveats = [
        *_differences("machine", _MACHINE, old.fingerprint, new.fingerprint, blocks=True),
        *_differences("setting", _SETTINGS_THAT_BAR, old.settings, new.settings, blocks=True),
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
    """Where two values differ, table by table: nested keys are joined with a dot."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _leaves(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield name, old, new


def _target_caveats(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Caveat]:
    """Another target blocks; other keys of the same target's profile are named."""
    if before.get("name") != after.get("name"):
        yield Caveat("target (name of the profile)", str(before.get("name")), str(after.get("name")), blocks=True)
        return
    for key, old, new in _leaves("profile", before, after):
        yield Caveat(key, value_words(old), value_words(new), blocks=False)


def _certificate_caveats(before: Judgement, after: Judgement) -> Iterator[Caveat]:
    """A client that was not shown to be good enough, or whose books do not close, carries no difference."""
    verdicts = [{gate.id: gate.verdict for gate in run.gates} for run in (before, after)]
    for name in _CERTIFYING:
        old, new = (run.get(name, Verdict.NOT_RUN) for run in verdicts)
        if not (old is new is Verdict.PASS):
            yield Caveat(f"gate {name}", old.value, new.value, blocks=True)


def _shared_machine_caveats(before: ComparedRun, after: ComparedRun) -> Iterator[Caveat]:
    """A machine that others used meanwhile: the difference may be theirs."""
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
    """What processes outside the run took of the machine while it was driven, steal counted in; None: nobody looked."""
    window = span(case)
    whole = cpu.machine(case.samples, *window) if window else None
    if window is None or whole is None or case.samples.pids.empty:
        return None
    return float(cpu.by_role(case.samples, *window).get(Role.OTHER, 0.0)) / whole.cores + whole.steal


def _load_per_core(fingerprint: Mapping[str, Any]) -> float:
    averages, cores = fingerprint.get("load_average"), fingerprint.get("cores_allowed") or fingerprint.get("cores")
    if not isinstance(averages, list | tuple) or not averages or not isinstance(cores, int | float) or cores <= 0:
        return 0.0
    return float(averages[0]) / cores
