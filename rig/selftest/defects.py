"""What ``rig prove`` seeds, and which gates must turn red by it: values only, so that a test can hold them against the
catalog of all gates without running anything.

A defect lies in the target (a switch of the reference service), in the instrument (the client stutters, a worker or a
sampler is killed, a process is left behind), in the evidence (a row is lost after the run), in what a diagnosis gets to
see, or in a crowd. Each runs on one ``Stage``, which fixes what is sent and which gates are judged; those that a defect
does not name must stay green. ``rig.selftest.stages`` runs them, ``rig.selftest.injections`` and
``rig.selftest.corruptions`` lay hands on instrument and evidence. Not for storms, whose protections are taken away one
by one (``rig.selftest.weaknesses``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rig.checks.judge import EXIT_GATES
from rig.evidence.gate import Verdict

NUMBERS = tuple(range(1, 10))
ROWS = tuple(f"S{number}.rows" for number in NUMBERS)
ANSWERS = tuple(f"S{number}.answers" for number in NUMBERS)
_WHOLE = ("totals", "duplicates", "accounting", "probes", "hygiene")
_PRIVACY = ("privacy.rows", "privacy.logs")
_CALIBRATED = ("calibration.null", "calibration.ruler")
_LADDER = (*ROWS, *ANSWERS, *_WHOLE, *_PRIVACY, "S8.time", *_CALIBRATED)
_SAMPLED = ("samplers", "samplers.database_cpu")
_SHORT = tuple(f"{scenario}.{what}" for scenario in ("S1", "S2") for what in ("rows", "answers"))
_SUSTAINED = tuple(f"sustained.{what}" for what in ("rows", "answers", "rate", "p95", "degradation"))
_EXIT = tuple(exit_gate.id for exit_gate in EXIT_GATES)


class Stage(StrEnum):
    """What is sent, and to whom."""

    WHOLE = "whole"
    """Every scenario, the samplers beside them: the healthy run that all others are held against."""
    LADDER = "ladder"
    """S1 to S9."""
    SHORT = "short"
    """S1 and S2, the samplers beside them."""
    SUSTAINED = "sustained"
    """An open loop."""
    NULL = "null"
    """The null benchmark alone."""
    LATENCY = "latency_calibration"
    """The certification of latencies alone."""
    EVIDENCE = "evidence"
    """Nothing: the healthy run's pack is copied, changed and judged again."""
    DIAGNOSIS = "diagnosis"
    """Seeded bottlenecks, and what the diagnosis says to them."""
    CROWD = "crowd"
    """The mix that locust leads, by two native workers."""


GATES = {
    Stage.WHOLE: (*_LADDER, *_SUSTAINED, *_SAMPLED, "littles_law", *_EXIT),
    Stage.LADDER: _LADDER,
    Stage.SHORT: (*_SHORT, *_WHOLE, *_SAMPLED),
    Stage.SUSTAINED: (*_SUSTAINED, "totals", "duplicates", "accounting", "hygiene"),
    Stage.NULL: (),
    Stage.LATENCY: ("calibration.null",),
    Stage.EVIDENCE: (*_LADDER, *_SUSTAINED, *_SAMPLED, "littles_law", *_EXIT),
    Stage.DIAGNOSIS: ("diagnosis.confusion", *_CALIBRATED),
    Stage.CROWD: ("locust.reports", "locust.totals"),
}
"""The gates that are judged on each stage, and green unless a defect says otherwise."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, and what it must do to the gates.

    ``red`` must be FAIL, ``invalid`` INVALID, ``not_run`` NOT-RUN; ``open`` ones may turn either way: chance or order
    decides. ``service`` are the reference service's switches. Exit gates follow from their members.
    """

    name: str
    stage: Stage
    red: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    service: tuple[str, ...] = ()

    def cells(self) -> dict[str, Verdict]:
        """Expected verdict of every declared gate."""
        named = {
            **dict.fromkeys(self.red, Verdict.FAIL),
            **dict.fromkeys(self.invalid, Verdict.INVALID),
            **dict.fromkeys(self.not_run, Verdict.NOT_RUN),
        }
        touched = {*named, *self.open}
        green = [gate for gate in GATES[self.stage] if gate not in touched and not _composed_of(gate, touched)]
        return named | dict.fromkeys(green, Verdict.PASS)


def _composed_of(gate: str, touched: set[str]) -> bool:
    """Whether an exit gate has a member that a defect names."""
    parts = {exit_gate.id: {*exit_gate.members, *exit_gate.besides} for exit_gate in EXIT_GATES}
    return bool(parts.get(gate, set()) & touched)


def _service(name: str, *red: str, stage: Stage = Stage.LADDER, **more: tuple[str, ...]) -> Defect:
    return Defect(name, stage, red, service=(name,), **more)


HEALTHY = Defect("healthy", Stage.WHOLE)
HEALTHY_DIAGNOSIS = Defect("healthy-diagnosis", Stage.DIAGNOSIS)
HEALTHY_CROWD = Defect("healthy-crowd", Stage.CROWD)

OF_THE_SERVICE = (
    # Of few or replayed events chance decides whether one is among the forgotten.
    _service("ack-without-storing", "S2.rows", "S8.rows", "totals", "EG3.1", open=("S6.rows", "S9.rows")),
    _service("no-deduplication", "S1.rows", "S5.rows", "S6.rows", "S8.rows", "duplicates", "totals", "EG3.2"),
    _service("global-deduplication", "S5.rows", "totals", "EG3.2"),
    _service("malformed-dropped", "S3.rows", "S6.rows", "S8.rows", "totals", "EG3.3"),
    _service("personal-data-dropped", "S4.rows", "S8.rows", "totals", "EG3.1"),
    _service("invalid-json-dropped", "S7.rows", "totals", "EG3.3"),
    # A refused body may or may not leave a row; a readiness that is asked within that second is refuted by it.
    _service("invalid-json-500", "S7.answers", open=("S7.rows", "totals", "probes")),
    # Where nothing was acknowledged nothing had to exist; whether an error may leave a row is not what is proven here.
    _service("stored-but-500", *ANSWERS, "probes", "EG3.4", open=(*ROWS, "totals", "duplicates", *_PRIVACY, "S8.time")),
    _service("personal-data-kept", "privacy.rows", "EG3.1"),
    _service("personal-data-logged", "privacy.logs", "EG3.1"),
    _service("alias-not-normalised", "S9.rows"),
    _service("slow", "S8.time", "EG3.4"),
    Defect("slow-when-sustained", Stage.SUSTAINED, ("sustained.p95", "sustained.degradation"), service=("slow",)),
    # What was never sent has no latency, and whose fault that is the history cannot say.
    Defect(
        "slow-and-cut-off",
        Stage.SUSTAINED,
        invalid=("sustained.rate", "sustained.p95"),
        open=("sustained.rows", "sustained.answers", "sustained.degradation", "totals", "duplicates"),
        service=("slow",),
    ),
)
OF_THE_INSTRUMENT = (
    Defect("throttled-client", Stage.NULL, invalid=("calibration.null",)),
    Defect("stuttering-ruler", Stage.LATENCY, invalid=("calibration.ruler",)),
    # The limit was missed, and the client was not there to see whether by the target.
    Defect("stuttering-client", Stage.SUSTAINED, invalid=("sustained.p95",), open=("sustained.degradation",)),
    Defect(
        "worker-killed",
        Stage.SHORT,
        invalid=("S2.rows", "S2.answers", "totals", "duplicates", "accounting", "EG3.5"),
        open=_SAMPLED,
    ),
    Defect("sampler-killed", Stage.SHORT, invalid=("samplers", "EG3.5")),
    Defect("sampler-unborn", Stage.SHORT, invalid=("samplers", "EG3.5"), not_run=("samplers.database_cpu",)),
    Defect("process-left-behind", Stage.SHORT, invalid=("hygiene", "EG3.5"), open=_SAMPLED),
)
OF_THE_EVIDENCE = (
    Defect("row-lost", Stage.EVIDENCE, invalid=("accounting", "S2.answers", "EG3.5")),
    Defect("clock-too-fast", Stage.EVIDENCE, invalid=("littles_law", "EG3.5")),
    Defect("probes-unasked", Stage.EVIDENCE, invalid=("probes",)),
    # What a run leaves that was killed when all but its last line was written.
    Defect("run-cut-short", Stage.EVIDENCE, invalid=("completion", "EG3.5")),
    Defect(
        "truth-unread",
        Stage.EVIDENCE,
        invalid=(*ROWS, "sustained.rows", "totals", "duplicates", *_PRIVACY, "EG3.1", "EG3.2", "EG3.3", "EG3.4"),
    ),
    # A history of another kind: checkers crash on it, and no verdict on the target may come of that.
    Defect(
        "history-garbled",
        Stage.EVIDENCE,
        invalid=("checker.littles_law", "EG3.5"),
        open=tuple(gate for gate in GATES[Stage.EVIDENCE] if gate not in ROWS),
    ),
)
OF_THE_DIAGNOSIS = (
    # Nobody samples: what was seeded cannot be found.
    Defect("diagnosis-blind", Stage.DIAGNOSIS, red=("diagnosis.confusion",)),
    # A sound service, of which it is not told that others take the machine: right as the answer is, it was not seeded.
    Defect("diagnosis-false-alarm", Stage.DIAGNOSIS, red=("diagnosis.confusion",)),
)
OF_THE_CROWD = (
    # Whether it had reported anything that is now missed is a matter of moments.
    Defect("crowd-worker-killed", Stage.CROWD, invalid=("locust.reports",), open=("locust.totals",)),
    # The healthy crowd's pack, copied and changed.
    Defect("crowd-row-lost", Stage.CROWD, invalid=("locust.totals", "accounting")),
)

DEFECTS = (*OF_THE_SERVICE, *OF_THE_INSTRUMENT, *OF_THE_EVIDENCE, *OF_THE_DIAGNOSIS, *OF_THE_CROWD)
"""All of them, in the order in which they are run; each stage's healthy run goes before."""
