"""Every defect that ``rig prove`` injects: one value each, with its stage, what it does, and the gates it turns red.

A new defect is one entry here; what it does is a function of ``rig.selftest.injections`` (a switch of the service, a
fault of the instrument), ``rig.selftest.corruptions`` (of the evidence) or below. Not for storms, whose protections
are taken away one by one (``rig.selftest.weaknesses``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rig.selftest import bottlenecks, corruptions, injections, stages
from rig.selftest.bench import PlannedRun, beforehand
from rig.selftest.locust_run import kill_mix_worker
from rig.selftest.stages import ANSWERS, PRIVACY, ROWS, SAMPLED, Defect, Questions

_CUT_OFF_S = 1.5
_STUTTER_LIMIT_MS = 60.0


@beforehand
def _ask_without_samplers(questions: Questions) -> None:
    """Nobody samples: what was seeded cannot be found."""
    questions.seeds, questions.samplers = (bottlenecks.ROW_LOCK_CONVOY,), False


@beforehand
def _hide_foreign_load(questions: Questions) -> None:
    """Others take the machine of a healthy service. The diagnosis says so rightly, but nobody declared it."""
    questions.seeds = (replace(bottlenecks.HEALTHY, apply=bottlenecks.load_machine),)


def _of_service(name: str, *red: str, open: tuple[str, ...] = ()) -> Defect[PlannedRun]:  # noqa: A002  # as the field
    return Defect(name, stages.LADDER, injections.switch(name), red, open=open)


HEALTHY = Defect("healthy", stages.WHOLE)
HEALTHY_DIAGNOSIS = Defect("healthy-diagnosis", stages.DIAGNOSIS)
HEALTHY_MIX = Defect("healthy-crowd", stages.MIX)

DEFECTS: tuple[Defect[Any], ...] = (
    # Of few or replayed events chance decides whether one is among the forgotten.
    _of_service("ack-without-storing", "S2.rows", "S8.rows", "totals", "EG3.1", open=("S6.rows", "S9.rows")),
    _of_service("no-deduplication", "S1.rows", "S5.rows", "S6.rows", "S8.rows", "duplicates", "totals", "EG3.2"),
    _of_service("global-deduplication", "S5.rows", "totals", "EG3.2"),
    _of_service("malformed-dropped", "S3.rows", "S6.rows", "S8.rows", "totals", "EG3.3"),
    _of_service("personal-data-dropped", "S4.rows", "S8.rows", "totals", "EG3.1"),
    _of_service("invalid-json-dropped", "S7.rows", "totals", "EG3.3"),
    # A refused body may or may not leave a row, and a readiness probe in that second fails because of it.
    _of_service("invalid-json-500", "S7.answers", open=("S7.rows", "totals", "probes")),
    # Where nothing was acknowledged nothing had to exist; whether an error may leave a row is not what is proven here.
    _of_service(
        "stored-but-500", *ANSWERS, "probes", "EG3.4", open=(*ROWS, "totals", "duplicates", *PRIVACY, "S8.time")
    ),
    _of_service("personal-data-kept", "privacy.rows", "EG3.1"),
    _of_service("personal-data-logged", "privacy.logs", "EG3.1"),
    _of_service("alias-not-normalised", "S9.rows"),
    _of_service("slow", "S8.time", "EG3.4"),
    Defect(
        "slow-when-sustained",
        stages.SUSTAINED,
        injections.switch("slow"),
        red=("sustained.p95", "sustained.degradation"),
    ),
    # What was never sent has no latency, and the history cannot say whose fault that is.
    Defect(
        "slow-and-cut-off",
        stages.SUSTAINED,
        injections.switch("slow", deadline_s=_CUT_OFF_S),
        invalid=("sustained.rate", "sustained.p95"),
        open=("sustained.rows", "sustained.answers", "sustained.degradation", "totals", "duplicates"),
    ),
    Defect(
        "throttled-client", stages.NULL, injections.stutter_client(injections.THROTTLE_S), invalid=("calibration.null",)
    ),
    Defect(
        "stuttering-ruler",
        stages.LATENCY,
        injections.stutter_client(injections.STUTTER_S),
        invalid=("calibration.ruler",),
    ),
    # The limit was missed, and the client was not there to see whether that was the target's fault.
    Defect(
        "stuttering-client",
        stages.SUSTAINED,
        injections.stutter_client(injections.STUTTER_S, p95_limit_ms=_STUTTER_LIMIT_MS),
        invalid=("sustained.p95",),
        open=("sustained.degradation",),
    ),
    Defect(
        "worker-killed",
        stages.SHORT,
        injections.kill_worker,
        invalid=("S2.rows", "S2.answers", "totals", "duplicates", "accounting", "EG3.5"),
        open=SAMPLED,
    ),
    Defect("sampler-killed", stages.SHORT, injections.kill_sampler, invalid=("samplers", "EG3.5")),
    Defect(
        "sampler-unborn",
        stages.SHORT,
        injections.kill_sampler_at_start,
        invalid=("samplers", "EG3.5"),
        not_run=("samplers.database_cpu",),
    ),
    Defect("process-left-behind", stages.SHORT, injections.leave_process, invalid=("hygiene", "EG3.5"), open=SAMPLED),
    Defect("row-lost", stages.EVIDENCE, corruptions.lose_row, invalid=("accounting", "S2.answers", "EG3.5")),
    Defect("clock-too-fast", stages.EVIDENCE, corruptions.speed_up_clock, invalid=("littles_law", "EG3.5")),
    Defect("probes-unasked", stages.EVIDENCE, corruptions.forget_probes, invalid=("probes",)),
    Defect("run-cut-short", stages.EVIDENCE, corruptions.forget_end, invalid=("completion", "EG3.5")),
    Defect(
        "truth-unread",
        stages.EVIDENCE,
        corruptions.forget_truth,
        invalid=(*ROWS, "sustained.rows", "totals", "duplicates", *PRIVACY, "EG3.1", "EG3.2", "EG3.3", "EG3.4"),
    ),
    # Checkers crash on a history of another kind. No verdict on the target may come of that.
    Defect(
        "history-garbled",
        stages.EVIDENCE,
        corruptions.garble_history,
        invalid=("checker.littles_law", "EG3.5"),
        open=tuple(gate for gate in stages.EVIDENCE.gates if gate not in ROWS),
    ),
    Defect("diagnosis-blind", stages.DIAGNOSIS, _ask_without_samplers, red=("diagnosis.confusion",)),
    Defect("diagnosis-false-alarm", stages.DIAGNOSIS, _hide_foreign_load, red=("diagnosis.confusion",)),
    # Timing decides whether the killed worker had reported anything that is now missed.
    Defect("crowd-worker-killed", stages.MIX, kill_mix_worker, invalid=("locust.reports",), open=("locust.totals",)),
    Defect("crowd-row-lost", stages.MIX_EVIDENCE, corruptions.lose_row, invalid=("locust.totals", "accounting")),
)
"""All of them, in the order in which they are run."""

_HEALTHY_RUNS: Mapping[str, Defect[Any]] = {
    stages.DIAGNOSIS.name: HEALTHY_DIAGNOSIS,
    stages.MIX.name: HEALTHY_MIX,
    stages.MIX_EVIDENCE.name: HEALTHY_MIX,
}
"""By stage; the other stages have the whole one."""


def add_healthy_runs(defects: Iterable[Defect[Any]]) -> list[Defect[Any]]:
    """Defects in their order: the whole healthy run goes first, and each stage's own before its first defect."""
    ordered: list[Defect[Any]] = [HEALTHY]
    for defect in defects:
        healthy = _HEALTHY_RUNS.get(defect.stage.name, HEALTHY)
        if healthy not in ordered:
            ordered.append(healthy)
        ordered.append(defect)
    return ordered
