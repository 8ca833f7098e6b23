"""What the five race tests share: a prepared database, a fleet that is released once, and the report.

Flow of a test::

    with race.database("queue") as prepared:
        payload = race.replicas(prepared)               # or what else the members are given
        run = race.run_fleet(8, work, payload, 60.0)    # all start at one instant
        …                                               # read from outside what they did
    return race.report(run, figures)

A module of its own for each test holds what the members do. ``rig.checks.race_tests`` judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import psycopg

from rig.checks.race_tests.race_kind import RaceFigures
from rig.evidence.storm import StormEvent, StormReport
from rig.profile.storms import PreparedSection, RaceSection
from rig.storms.command import Replicas, prepare
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.fleet import Fleet, Member, Work
from rig.storms.statements import execute
from rig.target.postgres import Database

REPORTING_S = 5.0
"""Time for a member to report after its own time limit has passed."""

Section = TypeVar("Section", bound=RaceSection)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PreparedDatabase:
    """A database of the test's own with the target's schema, and the environment of the commands that work in it."""

    database: Database
    environ: Mapping[str, str] = field(repr=False)

    @property
    def admin_dsn(self) -> str:
        """The owner's."""
        return self.database.admin_dsn

    @property
    def runtime_dsn(self) -> str:
        """The service's."""
        return self.database.runtime_dsn

    def connect(self) -> psycopg.Connection[Any]:
        """Connect as the owner, in autocommit."""
        return psycopg.connect(self.admin_dsn, autocommit=True, application_name="rig-storm")


@dataclass(frozen=True, slots=True)
class FleetRun:
    """A fleet from its release (monotonic ns) to its end."""

    released_ns: int
    skew_ns: int | None
    members: Sequence[Member]

    def results(self, kind: type[T]) -> list[T]:
        """The results of the members that gave one."""
        return [result for _, result in self.results_by_number(kind)]

    def results_by_number(self, kind: type[T]) -> list[tuple[int, T]]:
        """The same, each with its member's number."""
        return [(one.number, one.result) for one in self.members if isinstance(one.result, kind)]


def do_nothing(*_: object) -> None:
    """What happens where a test has nothing of its own to do at a point of a fleet's run."""


@dataclass(frozen=True, slots=True)
class RaceTest(Generic[Section]):
    """One race test as it was asked for. ``section`` is ``[storms.NAME]`` of the profile."""

    name: str
    environment: StormEnvironment
    options: StormOptions
    section: Section

    def key(self, name: str) -> str:
        """A key of the profile's section, as messages name it."""
        return f"storms.{self.name}.{name}"

    @contextmanager
    def database(self, name: str) -> Iterator[PreparedDatabase]:
        """A fresh database in which the profile's ``prepare`` has run; dropped at the end. RigError as that raises."""
        with self.environment.database(name) as database:
            environ = self.environment.environment(self.section.env, self.key("env"), database)
            if isinstance(self.section, PreparedSection) and self.section.prepare is not None:
                prepare(self.command("prepare"), environ, self.key("prepare"))
            yield PreparedDatabase(database, environ)

    def blanked(self, lines: Iterable[str]) -> list[str]:
        """What a replica wrote, without the run's secrets."""
        return [self.environment.secrets.blank(line) for line in lines]

    def command(self, name: str, *, whole: bool = False, **words: str) -> list[str]:
        """The command of that key with its words filled in; ``whole``: with all protections, whatever is off."""
        without = () if whole else self.options.without
        return self.environment.command(getattr(self.section, name), self.key(name), without, **words)

    def execute(
        self,
        connection: psycopg.Connection[Any],
        name: str,
        parameters: Mapping[str, Any] | None = None,
        columns: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run the statement of that key; see ``rig.storms.statements``."""
        return execute(connection, self.key(name), getattr(self.section, name), parameters, columns)

    def replicas(self, prepared: PreparedDatabase, timeout_s: float, *, whole: bool = False) -> Replicas:
        """What every member of a fleet of the profile's ``command`` runs."""
        return Replicas(tuple(self.command("command", whole=whole)), prepared.environ, timeout_s)

    def run_fleet(
        self,
        processes: int,
        work: Work,
        payload: object,
        deadline_s: float,
        *,
        before: Callable[[], None] = do_nothing,
        during: Callable[[Fleet], None] = do_nothing,
    ) -> FleetRun:
        """Start a fleet, release it at one instant, and wait for its members.

        ``before`` is called when all are held at the barrier, ``during`` right after the release.
        """
        with Fleet(processes, work, payload) as fleet:
            fleet.start()
            before()
            released_ns = fleet.release()
            during(fleet)
            members = fleet.collect(deadline_s)
            return FleetRun(released_ns, fleet.skew_ns, members)

    def report(
        self,
        run: FleetRun,
        figures: RaceFigures,
        ledger: Sequence[Mapping[str, Any]],
        events: Sequence[StormEvent] = (),
        missing: Sequence[Member] | None = None,
    ) -> StormReport:
        """Keep the ledger in the pack, and report.

        ``missing`` are the members of whom a report is expected: those of the run where it is not given.
        """
        self.environment.keep(self.name, ledger)
        members = run.members if missing is None else missing
        return StormReport(
            storm=self.name,
            case=self.name,
            without=self.options.without,
            processes=len(run.members),
            skew_ns=run.skew_ns,
            missing=tuple(f"process {member.number} {member.error}" for member in members if member.error),
            figures=asdict(figures),
            events=(StormEvent("release", "fleet", run.released_ns), *events),
        )
