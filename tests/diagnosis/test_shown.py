"""Where a diagnosis is shown: in the pack, on the console, in the documents, and by the gate that failed."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from rig.checks.judge import judgement_of
from rig.diagnose import diagnose
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.evidence.samples import SamplerReport, Samples
from rig.report.documents import html
from rig.report.summary import console, find_gaps, summary
from tests.checks.cases import by_id, case, driven, plan
from tests.diagnosis.test_measured import storm
from tests.evidence import synthetic

NOTHING = Judgement(Verdict.PASS, 0, ())


def test_the_pack_keeps_it_whole(tmp_path: Path) -> None:
    judgement = replace(NOTHING, diagnosis=diagnose(storm()))
    pack = Pack.create(tmp_path, "perf", 1, datetime(2026, 1, 1, tzinfo=UTC))
    pack.write_judgement(judgement)
    assert pack.judgement() == judgement


def test_a_gate_of_speed_that_failed_names_it_and_others_do_not() -> None:
    slow = case(driven(plan("S8", count=3000, limit_s=1.0), took_s=3.0, wall_s=3.0))
    gates = by_id(judgement_of(slow).gates)
    assert gates["S8.time"].verdict is Verdict.FAIL
    assert gates["S8.time"].figures["diagnosis"] == diagnose(slow).answer
    assert [gate.id for gate in gates.values() if "diagnosis" in gate.figures] == ["S8.time"]


def test_the_sentence_stands_high_up_in_all_that_people_read() -> None:
    whole = storm()
    judgement = replace(NOTHING, diagnosis=diagnose(whole))
    answer = diagnose(whole).answer
    manifest = synthetic.manifest(whole)
    stream = io.StringIO()
    Console(file=stream, width=1000).print(console(judgement))
    assert f"diagnosis  {answer}" in stream.getvalue()
    assert answer in summary(manifest, whole, judgement).partition("## ")[0].replace("\\", "")
    page = html(manifest, whole, judgement, ())
    assert answer.replace("'", "&#39;") in page[: page.index("</header>")]


def test_under_a_gate_that_is_not_of_speed_it_does_not_stand_as_the_cause() -> None:
    lost, slow = Gate("S2.rows", Verdict.FAIL, "rows"), Gate("S8.time", Verdict.FAIL, "time")
    judgement = replace(NOTHING, verdict=Verdict.FAIL, gates=(lost,), diagnosis=diagnose(storm()))
    name, words = judgement.about_speed
    assert (name, words.startswith("(not why it is FAIL) ")) == ("speed", True)
    assert replace(judgement, gates=(lost, slow)).about_speed == ("diagnosis", diagnose(storm()).answer)
    assert NOTHING.about_speed == ("", "")


def test_what_a_sampler_could_not_see_is_not_measured() -> None:
    short = Samples(reports=(SamplerReport(name="pg_activity", unseen=("states of other roles' sessions",)),))
    assert "pg_activity: states of other roles' sessions" in find_gaps(replace(storm(), samples=short), NOTHING)
