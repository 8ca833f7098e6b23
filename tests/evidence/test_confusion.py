"""The confusion matrix: what counts as right, when a proof is red, how it is shown."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from rig.checks.judge import judge
from rig.errors import ExitCode
from rig.evidence.case import Case
from rig.evidence.confusion import ANSWERS, HYPOTHESES, Confusion, SeedAnswer
from rig.evidence.gate import Verdict
from rig.report.confusion import confusion_table
from rig.report.plots import png
from rig.report.plots.confusion import confusion_matrix
from rig.selftest.bottlenecks import HEALTHY, SEEDS


def confusion(*observed: tuple[str, str, str], **more: Any) -> Confusion:
    """Answers as (seed, expected, observed)."""
    return Confusion(tuple(SeedAnswer(seed, 1, expected, seen) for seed, expected, seen in observed), **more)


def many(right: int, wrong: int) -> Confusion:
    return confusion(*[("convoy", "H-A2", "H-A2")] * right, *[("convoy", "H-A2", "H-A1")] * wrong)


@pytest.mark.parametrize(
    ("right", "wrong", "verdict", "code"),
    [
        (45, 0, Verdict.PASS, ExitCode.PASS),
        (43, 2, Verdict.PASS, ExitCode.PASS),  # 95.6 %
        (19, 1, Verdict.PASS, ExitCode.PASS),  # 95 % to the point
        (42, 3, Verdict.FAIL, ExitCode.FAIL),  # 93.3 %
        (0, 1, Verdict.FAIL, ExitCode.FAIL),
        (0, 0, Verdict.INVALID, ExitCode.INVALID),  # nothing was asked
    ],
)
def test_ninety_five_percent_must_be_right(right: int, wrong: int, verdict: Verdict, code: ExitCode) -> None:
    proof = many(right, wrong)
    assert (proof.verdict, proof.exit_code) == (verdict, code)


def test_one_false_alarm_is_red_whatever_the_score() -> None:
    proof = confusion(*[("convoy", "H-A2", "H-A2")] * 99, ("healthy", "nothing", "H-E"))
    assert proof.score == 0.99
    assert proof.false_alarms == 1
    assert proof.verdict is Verdict.FAIL


def test_a_sound_service_of_which_nothing_could_be_said_is_no_right_answer() -> None:
    assert confusion(("healthy", "nothing", "undetermined")).verdict is Verdict.FAIL


def test_the_document() -> None:
    proof = Confusion(
        (SeedAnswer("convoy", 2, "H-A2", "H-A1", "the commit path: …"),), {"cpu-quota": "no control group"}
    )
    document = proof.document()
    assert document["verdict"] == "FAIL"
    assert document["score"] == 0.0
    assert document["cells"] == [
        {
            "seed": "convoy",
            "repetition": 2,
            "expected": "H-A2",
            "observed": "H-A1",
            "answer": "the commit path: …",
        }
    ]
    assert document["not_run"] == {"cpu-quota": "no control group"}


def test_the_table_has_a_row_a_seed_and_names_what_was_not_run() -> None:
    proof = confusion(
        ("healthy", "nothing", "nothing"),
        ("convoy", "H-A2", "H-A2"),
        ("convoy", "H-A2", "H-A1"),
        not_run={"cpu-quota": "no control group"},
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(confusion_table(proof))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "FAIL: 66.7% of 3 answers right" in text
    rows = {words[0]: line for line in text.splitlines() if (words := line.split())}
    assert "100%" in rows["healthy"]
    assert "50%" in rows["convoy"]
    assert "cpu-quota: NOT-RUN" in text


def test_the_pack_of_a_proof_is_judged_by_its_answers() -> None:
    wrong = SeedAnswer("convoy", 1, "H-A2", "H-A1")
    gates = {gate.id: gate for gate in judge(Case(verb="prove-diagnosis", answers=(wrong,)))}
    assert gates["diagnosis.confusion"].verdict is Verdict.FAIL
    assert "convoy 1: H-A1" in gates["diagnosis.confusion"].reason
    for answers, verdict in (((SeedAnswer("convoy", 1, "H-A2", "H-A2"),), Verdict.PASS), ((), Verdict.INVALID)):
        gates = {gate.id: gate for gate in judge(Case(verb="prove-diagnosis", answers=answers))}
        assert gates["diagnosis.confusion"].verdict is verdict


def test_the_picture() -> None:
    figure = confusion_matrix(confusion(("healthy", "nothing", "nothing"), ("convoy", "H-A2", "H-A1")))
    assert figure is not None
    assert png(figure).startswith(b"\x89PNG")
    assert confusion_matrix(Confusion(())) is None


def test_every_hypothesis_has_a_seed_and_every_seed_an_answer() -> None:
    assert {seed.expected for seed in SEEDS if seed is not HEALTHY} == set(HYPOTHESES)
    assert {seed.expected for seed in SEEDS} <= set(ANSWERS)
    assert len({seed.name for seed in SEEDS}) == len(SEEDS)
