"""migration-race: N replicas migrate an empty database at once, several times; then all once more.

Flow: lone replicas migrate databases of their own, which shows what must come of it; then the fleet migrates another
database, once for each race. The first DDL of a race waits until all replicas are there (``Meeting``). Each version was
applied exactly once if schema and rows are what a lone replica left. The second run may not change a byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from rig.checks.race_tests.migration_race import MigrationFigures
from rig.errors import Unavailable
from rig.evidence.overlap import most_at_once
from rig.evidence.storm import StormEvent, StormReport
from rig.profile.storms import MigrationRace
from rig.storms import ddl_ledger
from rig.storms.command import Ended, be_replica
from rig.storms.database_content import (
    NUMBER_OF_ROWS,
    Columns,
    find_left_out,
    find_row_differences,
    read_content,
    read_shape,
)
from rig.storms.fleet import Member
from rig.storms.meeting import Meeting
from rig.storms.race_test import REPORTING_S, FleetRun, PreparedDatabase, RaceTest, do_nothing

PROCESSES = 8
_LONE = 2
"""So many lone replicas show what differs from one to the next; one more where a race leaves other rows."""
_SHOWN = 5
_MESSAGE_LENGTH = 300


def migration_race(race: RaceTest[MigrationRace]) -> StormReport:
    """Run the test. Unavailable where a lone replica cannot migrate: then a race would show nothing."""
    processes = race.options.processes or PROCESSES
    with ExitStack() as stack:
        expected = _Expected(race, stack)
        races = [_race(race, expected, processes, again=number == 1) for number in range(1, race.section.races + 1)]
        rows_expected = expected.count_rows()
        not_compared = sorted(".".join(column) for column in expected.left_out)
    members = [member for one in races for run in one.runs for member in run.members]
    failed = [member for member in members if _code(member) != "0" and not _refuses(race, member)]
    ended = [one.first.results(Ended) for one in races]
    figures = MigrationFigures(
        replicas=processes,
        racing=max(most_at_once((one.began_ns, one.ended_ns) for one in of_race) for of_race in ended),
        met=[len(one.met) for one in races],
        refused=sum(_refuses(race, member) for one in races for member in one.first.members),
        nobody_migrated=sum(all(_code(member) not in ("0", "none") for member in one.first.members) for one in races),
        exit_codes=_exit_codes([one.first for one in races]),
        second_exit_codes=_exit_codes([one.second for one in races if one.second]),
        second_refused=sum(_refuses(race, member) for one in races if one.second for member in one.second.members),
        said=sorted({race.environment.secrets.blank(_message(one))[:_MESSAGE_LENGTH] for one in failed})[:_SHOWN],
        commands_expected=expected.commands,
        commands=races[-1].commands,
        rows_expected=rows_expected,
        rows=races[-1].rows,
        differences=list(dict.fromkeys(sentence for one in races for sentence in one.differences))[:_SHOWN],
        not_compared=not_compared,
        second_changes=[change for one in races for change in one.second_changes][:_SHOWN],
        elapsed_s=round(max((one.elapsed_s for of_race in ended for one in of_race), default=0.0), 3),
    )
    return race.report(races[0].first, figures, _ledger(race, races), _events(races), missing=members)


@dataclass(frozen=True, slots=True)
class _Race:
    """One race: its runs, who met, and what it left otherwise than a lone replica would."""

    first: FleetRun
    second: FleetRun | None
    met: frozenset[int]
    differences: Sequence[str]
    second_changes: Sequence[str]
    notes: Sequence[ddl_ledger.Note]
    commands: int
    rows: int

    @property
    def runs(self) -> list[FleetRun]:
        return [run for run in (self.first, self.second) if run is not None]


class _Expected:
    """What lone replicas leave. Their databases are there until the stack is closed."""

    def __init__(self, race: RaceTest[MigrationRace], stack: ExitStack) -> None:
        self._race = race
        self._stack = stack
        self._lone: list[psycopg.Connection[Any]] = []
        self.start_up_s = 0.0
        self.commands = 0
        """The DDL commands of a lone replica."""
        for _ in range(_LONE):
            self._add()

    def differences(self, found: psycopg.Connection[Any]) -> list[str]:
        """What is other than a lone replica leaves it."""
        shape = read_shape(found)
        differences = find_row_differences(self._lone[0], found, shape.only(self.columns))
        if differences and len(self._lone) == _LONE:  # or is it only what differs from one replica to the next?
            self._add()
            differences = find_row_differences(self._lone[0], found, shape.only(self.columns))
        return differences + self.shape.differences(shape)

    def count_rows(self) -> int:
        """The rows that a lone replica leaves."""
        return sum(count for count, _ in read_content(self._lone[0], self.columns).values())

    def _add(self) -> None:
        """One lone replica. It keeps its protections, whatever the fleet does without: it shows what is right."""
        prepared = self._stack.enter_context(self._race.database(f"lone{len(self._lone)}"))
        ddl_ledger.install(prepared.admin_dsn)
        (alone,) = _migrate(self._race, prepared, 1, whole=True).members
        if _code(alone) != "0":
            key = self._race.key("command")
            raise Unavailable(f"{key}: a lone replica does not migrate an empty database: {_message(alone)}")
        self.start_up_s = max(self.start_up_s, alone.result.elapsed_s if isinstance(alone.result, Ended) else 0.0)
        self.commands = len(ddl_ledger.read_notes(prepared.admin_dsn))
        self._lone.append(self._stack.enter_context(prepared.connect()))
        self.shape = read_shape(self._lone[0])
        self.left_out = find_left_out(self._lone, self.shape)

    @property
    def columns(self) -> Columns:
        """What is compared of the rows."""
        return {
            table: [name for name in names if (table, name) not in self.left_out]
            for table, names in self.shape.columns.items()
            if table not in self._race.section.ignore_tables and (table, NUMBER_OF_ROWS) not in self.left_out
        }


def _race(race: RaceTest[MigrationRace], expected: _Expected, processes: int, *, again: bool) -> _Race:
    """One race on a new database; ``again``: and all replicas once more when it is over."""
    with race.database("raced") as raced, raced.connect() as connection:
        ddl_ledger.install(raced.admin_dsn, gated=True)
        with Meeting(raced.admin_dsn, expected.start_up_s, race.section.timeout_s) as meeting:
            first = _migrate(race, raced, processes, meeting=meeting)
        met = meeting.met | {member.number for member in first.members if _refuses(race, member)}
        notes = ddl_ledger.read_notes(raced.admin_dsn)
        shape = read_shape(connection)
        columns = {name: own for name, own in shape.columns.items() if name not in race.section.ignore_tables}
        content = read_content(connection, columns)
        differences = expected.differences(connection)
        second = _migrate(race, raced, processes) if again else None
        changes = shape.differences(read_shape(connection)) + [
            f"{table}: {after[0]} rows instead of {content[table][0]}"
            if after[0] != content[table][0]
            else f"{table}: other rows"
            for table, after in read_content(connection, columns).items()
            if after != content[table]
        ]
    rows = sum(count for count, _ in content.values())
    return _Race(first, second, frozenset(met), differences, changes, notes, len(notes), rows)


def _migrate(
    race: RaceTest[MigrationRace],
    prepared: PreparedDatabase,
    processes: int,
    *,
    whole: bool = False,
    meeting: Meeting | None = None,
) -> FleetRun:
    timeout_s = race.section.timeout_s
    replicas = race.replicas(prepared, timeout_s, whole=whole)
    during = do_nothing if meeting is None else meeting.hold
    return race.run_fleet(processes, be_replica, replicas, timeout_s + REPORTING_S, during=during)


def _refuses(race: RaceTest[MigrationRace], member: Member) -> bool:
    """Whether a replica refused by design, as the profile describes it."""
    ended, section = member.result, race.section
    if not isinstance(ended, Ended) or not ended.exit_code or not (section.exit_ok or section.refuses_with):
        return False
    says = not section.refuses_with or any(words in line for words in section.refuses_with for line in ended.lines)
    return says and (not section.exit_ok or ended.exit_code in section.exit_ok)


def _code(member: Member) -> str:
    return member.result.code if isinstance(member.result, Ended) else "none"


def _exit_codes(runs: Sequence[FleetRun]) -> dict[str, int]:
    """How many replicas ended with which exit code; ``none`` gave no report."""
    return dict(Counter(_code(member) for run in runs for member in run.members))


def _message(member: Member) -> str:
    return member.result.said if isinstance(member.result, Ended) else member.error


def _ledger(race: RaceTest[MigrationRace], races: Sequence[_Race]) -> list[Mapping[str, Any]]:
    """The DDL commands of each race, and what replicas wrote that did not end well."""
    rows: list[Mapping[str, Any]] = []
    for number, one in enumerate(races, 1):
        rows += [{"race": number, **note.row()} for note in one.notes]
        for run, name in ((one.first, "first"), (one.second, "second")):
            for replica, ended in run.results_by_number(Ended) if run else ():
                if ended.exit_code != 0:
                    wrote = {"exit": ended.code, "lines": race.blanked(ended.lines)}
                    rows.append({"race": number, "run": name, "replica": replica, **wrote})
    return rows


def _events(races: Sequence[_Race]) -> list[StormEvent]:
    return [
        StormEvent("run", f"race {number} replica {replica}", one.began_ns, one.ended_ns, f"exit {one.code}")
        for number, of_race in enumerate(races, 1)
        for replica, one in of_race.first.results_by_number(Ended)
    ]
