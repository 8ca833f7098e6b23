"""What is printed where there is no terminal: a line for each row, and no line longer than its own words."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rig.cli.console import ConsoleReporter
from rig.cli.output import plain_lines
from rig.errors import ErrorKind
from rig.evidence.gate import Gate, Verdict
from rig.model import Redelivery
from rig.profile import bundled_profile, load_profile
from rig.requests.targeter import Targeter
from rig.run.answers_so_far import AnswersSoFar
from tests.engine.scenes import RUN, scenario
from tests.evidence.test_history import raw

LONG = "one word " * 400


def _table() -> Table:
    table = Table(title="steps", box=SIMPLE_HEAD)
    table.add_column("name")
    table.add_column("rate", justify="right")
    table.add_column("why")
    table.add_row("a", "1,000", Text("[red] is no markup"))
    table.add_row(LONG, "5", "")
    return table


def test_a_table_has_no_rules_and_is_as_wide_as_its_words() -> None:
    assert list(plain_lines(_table())) == [
        "steps",
        "name   rate  why",
        "a     1,000  [red] is no markup",
        f"{LONG}      5",
    ]


def test_sections_keep_their_indent_and_the_blank_line_between_them() -> None:
    grid = Table(show_header=False)
    grid.add_row("PASS", "rows")
    assert list(plain_lines(Group(Text("Passed"), Padding(grid, (0, 0, 1, 1)), "end"))) == [
        "Passed",
        " PASS  rows",
        "",
        "end",
    ]


def _watched(screen: Console, tmp_path: Path, *ends: tuple[int, int, ErrorKind]) -> None:
    """A scenario run as a person sees it, in which two requests end so and take 12 ms each."""
    sent, file = scenario(8), tmp_path / "0.rows"
    profile = load_profile(bundled_profile())
    answers = AnswersSoFar(Targeter(profile, RUN).bind(sent), profile, [file])
    with ConsoleReporter(screen) as reporter:
        reporter.run_scenario(sent, 1, 3, answers)
        rows = raw(list(ends))
        rows["done_ns"] = rows["intended_ns"] + 12_000_000
        file.write_bytes(rows.tobytes())
        reporter.progress(2)


def test_the_bar_of_a_scenario_run_has_its_rate_and_the_p95_of_the_last_requests(tmp_path: Path) -> None:
    screen = io.StringIO()
    _watched(Console(file=screen, force_terminal=True, width=120), tmp_path, (0, 200, ErrorKind.NONE))
    assert "p95 12 ms" in screen.getvalue()
    assert "failed" not in screen.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_failure_is_said_while_its_scenario_run_goes_on(tmp_path: Path, is_terminal: bool) -> None:
    screen = io.StringIO()
    ends = (0, 503, ErrorKind.NONE), (1, 503, ErrorKind.NONE)
    _watched(Console(file=screen, force_terminal=is_terminal, width=120), tmp_path, *ends)
    assert screen.getvalue().count("status 503 for request 0, key ") == 1
    assert ("2 failed" in screen.getvalue()) is is_terminal


def test_scenario_runs_without_a_failure_leave_one_line_a_step() -> None:
    screen = io.StringIO()
    with ConsoleReporter(Console(file=screen, force_terminal=True, width=120)) as reporter:
        for step, ms in ((50, 7), (50, 9), (250, 8)):
            sent = scenario(step, id="S1" if ms == 7 else "S2")
            reporter.run_scenario(sent, 1, 3)
            reporter.end_scenario(sent, 0.1, np.array([float(ms)]))
        reporter.stage("reading the truth")
    said = screen.getvalue()
    assert "2 scenario runs of step 50: 2 requests, 0 failed, highest p95 9 ms, that of S2-50-shopify-1" in said
    assert "S2-250-shopify-1: 1 requests, 0 failed, p95 8 ms" in said
    assert "S1-50" not in said.replace("\x1b", "")


@pytest.mark.parametrize(("took_s", "is_said"), [(9.0, False), (12.0, True)])
def test_a_limit_that_was_missed_is_said_when_its_scenario_run_ends(took_s: float, is_said: bool) -> None:
    screen = io.StringIO()
    with ConsoleReporter(Console(file=screen, force_terminal=True, width=120)) as reporter:
        sent = scenario(8, limit_s=10.0)
        reporter.run_scenario(sent, 1, 1)
        reporter.end_scenario(sent, took_s, np.array([7.0]))
    assert (", over its limit of 10 s" in screen.getvalue()) is is_said


def test_attempts_that_had_to_fail_are_counted_apart_from_the_p95_of_the_answers() -> None:
    screen = io.StringIO()
    with ConsoleReporter(Console(file=screen, force_terminal=True, width=120)) as reporter:
        sent = scenario(8, id="S11", redelivery=Redelivery((1.0,)))
        reporter.run_scenario(sent, 1, 1)
        reporter.end_scenario(sent, 1.5, np.array([7.0] * 8 + [np.inf] * 2))
        reporter.stage("reading the truth")
    assert "S11-8-shopify-1: 10 attempts, 2 without an answer, p95 of the answers 7 ms" in screen.getvalue()
    assert " 1/1 " in screen.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_gate_that_has_failed_is_said_before_the_run_is_over(is_terminal: bool) -> None:
    screen = io.StringIO()
    gates = [Gate("S1.rows", Verdict.FAIL, "rows", reason="3 lost"), Gate("S2.rows", Verdict.INVALID, "rows")]
    with ConsoleReporter(Console(file=screen, force_terminal=is_terminal, width=120)) as reporter:
        reporter.tell_failures(gates)
    assert "FAIL S1.rows: 3 lost" in screen.getvalue()
    assert "S2.rows" not in screen.getvalue()


def test_a_line_is_folded_between_words_behind_the_time() -> None:
    screen = io.StringIO()
    with ConsoleReporter(Console(file=screen, force_terminal=True, color_system=None, width=50)) as reporter:
        reporter.tell_failures([Gate("S1.rows", Verdict.FAIL, "rows", reason="three of them are lost for ever")])
    assert "          FAIL S1.rows: three of them are lost for\n          ever " in screen.getvalue()
