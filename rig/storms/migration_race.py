"""migration-race: N replicas migrate an empty database at once, then all once more.

Flow: a lone replica migrates a database of its own, which shows what must come of it; then the fleet migrates another
database, twice. An event trigger notes every committed DDL command, and the rows of every table are counted. Each
version was applied exactly once if both are what the lone replica left. The second run may not change a byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from rig.errors import Unavailable
from rig.evidence.overlap import most_at_once
from rig.evidence.race_figures import MigrationFigures
from rig.evidence.storm import StormEvent, StormReport
from rig.profile.storms import MigrationRace
from rig.storms import ddl_ledger
from rig.storms.command import Ended, be_replica
from rig.storms.fleet import Member
from rig.storms.race_test import REPORTING_S, FleetRun, PreparedDatabase, RaceTest
from rig.storms.statements import table_digest

PROCESSES = 8
_SHOWN = 5
_MESSAGE_LENGTH = 300


def migration_race(race: RaceTest[MigrationRace]) -> StormReport:
    """Run the test. Unavailable where a lone replica cannot migrate: then a race would show nothing."""
    processes = race.options.processes or PROCESSES
    with race.database("lone") as lone, race.database("raced") as raced:
        ddl_ledger.install(lone.admin_dsn)
        ddl_ledger.install(raced.admin_dsn)
        # The lone replica keeps its protections, whatever the fleet does without: it shows what is right.
        (alone,) = _migrate(race, lone, 1, whole=True).members
        if _exit_code(alone) != 0:
            raise Unavailable(
                f"{race.key('command')}: a lone replica does not migrate an empty database: {_message(alone)}"
            )
        first = _migrate(race, raced, processes)
        after_first = _Content.read(raced)
        second = _migrate(race, raced, processes)
        after_second = _Content.read(raced)
        notes = ddl_ledger.read_notes(raced.admin_dsn)
        expected = _Content.read(lone)
    both = (*first.members, *second.members)
    messages = {race.environment.secrets.blank(_message(member)) for member in both if _exit_code(member) != 0}
    ended = first.results(Ended)
    figures = MigrationFigures(
        replicas=processes,
        racing=most_at_once((one.began_ns, one.ended_ns) for one in ended),
        exit_codes=_exit_codes(first),
        second_exit_codes=_exit_codes(second),
        said=sorted(message[:_MESSAGE_LENGTH] for message in messages)[:_SHOWN],
        commands_expected=expected.commands.total(),
        commands=after_first.commands.total(),
        rows_expected=sum(expected.rows.values()),
        rows=sum(after_first.rows.values()),
        differences=expected.differences(after_first)[:_SHOWN],
        second_changes=after_first.changes(after_second)[:_SHOWN],
        elapsed_s=round(max((one.elapsed_s for one in ended), default=0.0), 3),
    )
    events = [
        StormEvent("run", f"replica {number}", one.began_ns, one.ended_ns, f"exit {one.exit_code}")
        for number, one in first.results_by_number(Ended)
    ]
    return race.report(first, figures, [note.row() for note in notes], events, missing=both)


def _migrate(
    race: RaceTest[MigrationRace], prepared: PreparedDatabase, processes: int, *, whole: bool = False
) -> FleetRun:
    timeout_s = race.section.timeout_s
    return race.run_fleet(
        processes, be_replica, race.replicas(prepared, timeout_s, whole=whole), timeout_s + REPORTING_S
    )


class _Content:
    """What lies in a database: the DDL that made it, and each table's rows by count and by digest."""

    def __init__(self, commands: Counter[str], rows: Mapping[str, int], digests: Mapping[str, str]) -> None:
        self.commands = commands
        self.rows = rows
        self._digests = digests

    @classmethod
    def read(cls, prepared: PreparedDatabase) -> _Content:
        commands = Counter(f"{note.tag} {note.object}" for note in ddl_ledger.read_notes(prepared.admin_dsn))
        rows, digests = {}, {}
        with prepared.connect() as connection:
            tables = connection.execute(
                """SELECT schemaname, tablename FROM pg_tables
                   WHERE schemaname NOT IN ('pg_catalog', 'information_schema', %s) ORDER BY 1, 2""",
                (ddl_ledger.SCHEMA,),
            ).fetchall()
            for schema, table in tables:
                row = connection.execute(table_digest(sql.Identifier(schema, table))).fetchone()
                assert row is not None  # an aggregate without GROUP BY has one row
                rows[f"{schema}.{table}"], digests[f"{schema}.{table}"] = row
        return cls(commands, rows, digests)

    def differences(self, other: _Content) -> list[str]:
        """Where ``other`` is not what this is, in commands and in numbers of rows (rows may carry times)."""
        found = [
            f"{name}: {other.commands[name]} times instead of {self.commands[name]}"
            for name in sorted(self.commands | other.commands)
            if other.commands[name] != self.commands[name]
        ]
        return found + [
            f"{table}: {other.rows.get(table)} rows instead of {self.rows.get(table)}"
            for table in sorted(self.rows.keys() | other.rows.keys())
            if self.rows.get(table) != other.rows.get(table)
        ]

    def changes(self, later: _Content) -> list[str]:
        """As ``differences``, with every byte of every row."""
        tables = sorted(self._digests.keys() & later._digests.keys())
        return self.differences(later) + [
            f"{table}: other rows" for table in tables if self._digests[table] != later._digests[table]
        ]


def _exit_code(member: Member) -> int | None:
    return member.result.exit_code if isinstance(member.result, Ended) else None


def _exit_codes(run: FleetRun) -> dict[str, int]:
    """How many replicas ended with which exit code; ``none`` gave no report."""
    codes: Counter[Any] = Counter(_exit_code(member) for member in run.members)
    return {"none" if code is None else str(code): count for code, count in codes.items()}


def _message(member: Member) -> str:
    return member.result.said if isinstance(member.result, Ended) else member.error
