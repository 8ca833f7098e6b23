"""migration-race: N replicas migrate an empty database at once, then all once more.

Flow: a lone replica migrates a database of its own, which says what must come of it; then the fleet migrates another
one, twice. The outside ledger notes every committed DDL command, and every table's rows are counted: applied exactly
once means that both are what the lone replica left. The second time neither may change by a byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from rig.errors import Unavailable
from rig.evidence.overlap import most_at_once
from rig.evidence.storm import MIGRATION_RACE, Event, StormReport
from rig.profile.storms import MigrationRace
from rig.storms import ddl_ledger
from rig.storms.command import Ended, Replicas, be_replica
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.fleet import Fleet, Member
from rig.target.postgres import Database

PROCESSES = 8
_KEY = "storms.migration-race"
_NAMED = 5
_SAID_MOST = 300


def migration_race(environment: StormEnvironment, order: StormOptions, subject: MigrationRace) -> StormReport:
    """Let the storm loose. Unavailable where a lone replica cannot migrate: then a race would say nothing."""
    processes = order.processes or PROCESSES
    with environment.database("lone") as lone, environment.database("raced") as raced:
        ddl_ledger.install(lone.admin_dsn)
        ddl_ledger.install(raced.admin_dsn)
        # The lone replica is whole, whatever the fleet does without: it says what is right.
        (first,), _ = _run(environment, subject, lone, 1, ())
        if _exit_code(first) != 0:
            raise Unavailable(f"{_KEY}.command: a lone replica does not migrate an empty database: {_said(first)}")
        members, skew_ns = _run(environment, subject, raced, processes, order.without)
        after_first = _Content.read(raced)
        again, _ = _run(environment, subject, raced, processes, order.without)
        after_second = _Content.read(raced)
        environment.keep(MIGRATION_RACE, [note.row() for note in ddl_ledger.notes(raced.admin_dsn)])
        expected = _Content.read(lone)
    ended = [member.result for member in members if isinstance(member.result, Ended)]
    failed = {_said(member) for member in (*members, *again) if _exit_code(member) != 0}
    return StormReport(
        storm=MIGRATION_RACE,
        case=MIGRATION_RACE,
        without=order.without,
        processes=processes,
        skew_ns=skew_ns,
        missing=tuple(f"replica {m.number} {m.error}" for m in (*members, *again) if m.error),
        figures={
            "replicas": processes,
            "racing": most_at_once((e.began_ns, e.ended_ns) for e in ended),
            "exit_codes": _exit_codes(members),
            "second_exit_codes": _exit_codes(again),
            "said": sorted(environment.secrets.blanked(said)[:_SAID_MOST] for said in failed)[:_NAMED],
            "commands_expected": expected.commands.total(),
            "commands": after_first.commands.total(),
            "rows_expected": sum(expected.rows.values()),
            "rows": sum(after_first.rows.values()),
            "differences": expected.differences(after_first)[:_NAMED],
            "second_changes": after_first.changes(after_second)[:_NAMED],
            "elapsed_s": round(max((e.elapsed_s for e in ended), default=0.0), 3),
        },
        events=tuple(
            Event("run", f"replica {m.number}", m.result.began_ns, m.result.ended_ns, f"exit {m.result.exit_code}")
            for m in members
            if isinstance(m.result, Ended)
        ),
    )


def _run(
    environment: StormEnvironment, subject: MigrationRace, database: Database, processes: int, without: tuple[str, ...]
) -> tuple[list[Member], int | None]:
    replicas = Replicas(
        tuple(environment.command(subject.command, f"{_KEY}.command", without)),
        environment.environment(subject.env, f"{_KEY}.env", database),
        subject.timeout_s,
    )
    with Fleet(processes, be_replica, replicas) as fleet:
        fleet.start()
        fleet.release()
        members = fleet.collect(subject.timeout_s + 5.0)
        return members, fleet.skew_ns


class _Content:
    """What lies in a database: the DDL that made it, and each table's rows by count and by digest."""

    def __init__(self, commands: Counter[str], rows: Mapping[str, int], digests: Mapping[str, str]) -> None:
        self.commands = commands
        self.rows = rows
        self._digests = digests

    @classmethod
    def read(cls, database: Database) -> _Content:
        commands = Counter(f"{note.tag} {note.object}" for note in ddl_ledger.notes(database.admin_dsn))
        rows, digests = {}, {}
        with psycopg.connect(database.admin_dsn, application_name="rig-storm") as connection:
            tables = connection.execute(
                """SELECT schemaname, tablename FROM pg_tables
                   WHERE schemaname NOT IN ('pg_catalog', 'information_schema', %s) ORDER BY 1, 2""",
                (ddl_ledger.SCHEMA,),
            ).fetchall()
            for schema, table in tables:
                statement = sql.SQL("SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {} t")
                row = connection.execute(statement.format(sql.Identifier(schema, table))).fetchone()
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
        changed = [f"{table}: other rows" for table in tables if self._digests[table] != later._digests[table]]
        return self.differences(later) + changed


def _exit_code(member: Member) -> int | None:
    return member.result.exit_code if isinstance(member.result, Ended) else None


def _exit_codes(members: Sequence[Member]) -> dict[str, int]:
    """How many replicas ended with which exit code; ``none`` gave no report."""
    codes: Counter[Any] = Counter(_exit_code(member) for member in members)
    return {"none" if code is None else str(code): count for code, count in codes.items()}


def _said(member: Member) -> str:
    return member.result.said if isinstance(member.result, Ended) else member.error
