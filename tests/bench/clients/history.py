"""The project's own figures by commit: each ``make bench`` adds a line to ``docs/benchmarks/history.csv``."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path

NAME = "history.csv"
_SHOWN = 20


@dataclass(frozen=True)
class Line:
    """What the rig's engine cost at a commit: CPU of the client in µs a request, and what it is of wrk's.

    ``all_in_of_wrk`` includes what is done before the clock starts. ``lag_p99_us`` is the schedule lag at 10,000/s.
    """

    date: str
    commit: str
    machine: str
    rig_us: str
    wrk_us: str
    of_wrk: str
    all_in_of_wrk: str
    lag_p99_us: str


_TITLES = {
    "rig_us": "rig, CPU µs/request",
    "wrk_us": "wrk, CPU µs/request",
    "of_wrk": "of wrk's",
    "all_in_of_wrk": "all in, of wrk's",
    "lag_p99_us": "lag p99 at 10,000/s, µs",
}


def describe_commit() -> tuple[str, str]:
    """Date and short hash of the commit that is checked out; the hash ends with ``+`` where files differ from it.

    Today and "unknown" where there is no checkout.
    """

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = ask("status", "--porcelain", "--untracked-files=no", "--", "rig")
        return ask("log", "-1", "--format=%cs"), ask("log", "-1", "--format=%h") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return date.today().isoformat(), "unknown"


def add_line(folder: Path, line: Line) -> list[Line]:
    """Write a line behind those that are there; all of them. One of the same commit and machine is replaced."""
    file = folder / NAME
    known = []
    if file.exists():
        with file.open(newline="") as rows:
            known = [Line(**row) for row in csv.DictReader(rows)]
    lines = [one for one in known if (one.commit, one.machine) != (line.commit, line.machine)] + [line]
    with file.open("w", newline="") as rows:
        writer = csv.DictWriter(rows, [field.name for field in fields(Line)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, lines))
    return lines


def history_table(lines: list[Line]) -> list[str]:
    """The last lines as Markdown, the newest first."""
    names = [field.name for field in fields(Line)]
    titles = [_TITLES.get(name, name) for name in names]
    rows = [list(asdict(line).values()) for line in reversed(lines[-_SHOWN:])]
    return [f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(names), *rows)]
