"""The curated pack in results/example is what it says. Where a gate is added, ci/example.sh makes it anew."""

from __future__ import annotations

import re
from pathlib import Path

import rig
from rig.evidence.gate import Verdict
from rig.verbs.check import recheck

RESULTS = Path(__file__).parents[2] / "results"
EXAMPLE = RESULTS / "example"
_OF_A_MACHINE = re.compile(rb"/(?:tmp|root|home|Users|work|builds)/[A-Za-z0-9]")


def test_it_is_judged_again_under_the_digest_that_the_readme_names() -> None:
    digest = re.search(r"--digest ([0-9a-f]{64})", (RESULTS / "README.md").read_text())
    assert digest is not None
    finished = recheck(EXAMPLE, digest[1])
    assert (finished.judgement.verdict, finished.judgement.exit_code) == (Verdict.PASS, 0), finished.judgement.sentence


def test_it_shows_every_part_and_is_small() -> None:
    run = rig.load(EXAMPLE)
    assert run.manifest.argv == ("rig", "run", "--steps", "50", "-n", "1500", "--out", "results")
    assert set(run.metrics["scenario"]) >= {f"S{number}" for number in range(1, 10)}
    for frame in (run.history, run.truth, run.probes, run.samples.activity, run.samples.pids):
        assert len(frame)
    assert run.case.key_storms
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 1_500_000


def test_it_names_no_path_of_the_machine_that_made_it() -> None:
    named = {path.name: _OF_A_MACHINE.search(path.read_bytes()) for path in EXAMPLE.rglob("*") if path.is_file()}
    assert not {name: found[0] for name, found in named.items() if found}
