"""What is printed where there is no terminal: a line for each row, and no line longer than its own words."""

from __future__ import annotations

import io
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rig.cli.console import ConsoleReporter
from rig.cli.output import plain_lines
from rig.evidence.history import History
from tests.engine.scenes import scenario
from tests.evidence.test_history import ENDS, raw

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


def test_the_bar_of_a_scenario_run_has_its_rate_and_the_p95_of_the_last_requests(tmp_path: Path) -> None:
    history, sent = History(tmp_path), scenario(8)
    files = history.rows_files(sent, 2)
    screen = io.StringIO()
    with ConsoleReporter(Console(file=screen, force_terminal=True, width=120)) as reporter:
        reporter.run_scenario(sent, 1, 3, files)
        rows = raw([end[:3] for end in ENDS[:2]])
        rows["done_ns"] = rows["intended_ns"] + 12_000_000
        files[0].write_bytes(rows.tobytes())
        reporter.progress(2)
    assert "p95 12 ms" in screen.getvalue()
