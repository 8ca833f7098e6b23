"""The result of judging a run: every gate, the verdict over all of them, the exit code, and why it was slow.

The pack, the report, JUnit and the console share this value. The checkers decide; nothing here does.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.evidence.diagnosis import Diagnosis
from rig.evidence.gate import Gate, Verdict
from rig.evidence.power import DetectionPower
from rig.text import some

EXIT_GATE = "EG"
"""How the names of exit gates begin."""
OF_SPEED = ("time", "rate", "p95", "degradation", "held")
"""Gates of speed, by the last word of their names."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All gates of a run in the order of the report, with the verdict and the exit code that follow from them."""

    verdict: Verdict
    exit_code: int
    gates: tuple[Gate, ...]
    detection_power: tuple[DetectionPower, ...] = ()
    """How rare a defect the run would still have found; empty where it sent nothing, and in packs of release 0.1."""
    diagnosis: Diagnosis | None = None
    """Why the run was as slow as it was; None where nothing was sent. A pack has it in a file of its own."""
    on_purpose: str = ""
    """What the run had wrong on purpose (``describe_purpose``); empty where nothing was asked for."""

    @property
    def exit_gates(self) -> tuple[Gate, ...]:
        """The gates that compose others (``EG3.1`` …)."""
        return tuple(gate for gate in self.gates if gate.id.startswith(EXIT_GATE))

    @property
    def plain_gates(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not gate.id.startswith(EXIT_GATE))

    def having(self, *verdicts: Verdict) -> tuple[Gate, ...]:
        """The plain gates with one of these verdicts, in the order of ``verdicts``."""
        return tuple(gate for verdict in verdicts for gate in self.plain_gates if gate.verdict is verdict)

    @property
    def about_speed(self) -> tuple[str, str]:
        """The answer of the diagnosis below a name, both empty without one.

        It is a diagnosis only where nothing was missed, or a gate of speed was: it explains no row and no answer.
        """
        if self.diagnosis is None:
            return "", ""
        missed = self.having(Verdict.FAIL, Verdict.INVALID)
        if not missed or any(gate.id.rpartition(".")[2] in OF_SPEED for gate in missed):
            return "diagnosis", self.diagnosis.answer
        return "speed", f"(not why it is {self.verdict}) {self.diagnosis.answer}"

    @property
    def because(self) -> str:
        """The plain gates that are FAIL or INVALID, each with its reason; empty where none is."""
        missed = self.having(Verdict.FAIL, Verdict.INVALID)
        return "; ".join(f"{gate.id}: {gate.reason or gate.rule}" for gate in missed)

    @property
    def sentence(self) -> str:
        """The result in one line, with the gates that decided: ``1 of 20 gates FAIL: S8.time``."""
        failed, invalid = self.having(Verdict.FAIL), self.having(Verdict.INVALID)
        parts = [
            f"{len(gates)} of {len(self.plain_gates)} gates {verdict}: {some(gate.id for gate in gates)}"
            for verdict, gates in ((Verdict.FAIL, failed), (Verdict.INVALID, invalid))
            if gates
        ]
        if not parts:
            passed = len(self.having(Verdict.PASS))
            parts = [f"{passed} of {len(self.plain_gates)} gates PASS" if self.plain_gates else "nothing was judged"]
        not_run = self.having(Verdict.NOT_RUN)
        return "; ".join([*parts, *([f"{len(not_run)} not run"] if not_run else [])])
