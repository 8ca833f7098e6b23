"""The database that holds the truth, its tables, and what it may hold of personal data."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rig.limits import SECONDS_CEILING
from rig.profile.content import ContentField
from rig.profile.fields import Identifier, Names, Seconds, Section, Text, Variable


class _Rows(Section):
    """Where rows lie: in a table or view, or in the result of a statement."""

    table: Identifier | None = None
    """Table or view, with its schema if that is not in ``truth.schemas``."""
    sql: Text | None = None
    """Instead of ``table``: one SELECT whose columns the other keys name. Tables in ``truth.schemas`` need no schema
    in it. A percent sign is a percent sign, and there are no parameters."""
    tenant: Identifier | None = None
    """Column with the tenant's id. Leave it out where there are no tenants."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.table is None) == (self.sql is None):
            raise ValueError("give exactly one of table and sql")
        return self


class CanonicalTable(_Rows):
    """The table of accepted events. ``channel`` and ``correlation`` are checked if they are given."""

    key: Identifier
    """Column with the idempotency key."""
    correlation: Identifier | None = None
    """Column with the correlation id."""
    channel: Identifier | None = None
    """Column with the normalised channel."""
    fields: dict[Identifier, ContentField] = Field(default_factory=dict)
    """What the columns hold of the event, on all routes. Without any, here or in a route, content is not compared."""

    @model_validator(mode="after")
    def _key_is_its_own(self) -> Self:
        if self.key == self.tenant:
            raise ValueError(f"{self.key!r} is both key and tenant: name the column of each")
        return self

    @property
    def names(self) -> frozenset[str]:
        """The columns that it names."""
        named = (self.tenant, self.key, self.correlation, self.channel, *self.fields)
        return frozenset(name for name in named if name is not None)


class DeadTable(_Rows):
    """The table of dead letters, and how a row is matched with its request.

    ``match``: ``key`` or ``correlation`` (a column holds it), ``payload-key`` or ``payload-correlation`` (it is at a
    dotted path in a JSON column), or ``count`` (nothing in the row names the request, so only numbers are compared).
    """

    match: Literal["key", "correlation", "payload-key", "payload-correlation", "count"]
    column: Identifier | None = None
    """The column that ``match`` needs."""
    path: Text | None = None
    """Dotted path within a JSON column."""
    fields: dict[Identifier, ContentField] = Field(default_factory=dict)
    """What the columns of a dead letter hold of the event. Personal parts are not compared, nor is what was cut off
    (``invalid_json``). A dead letter that names no request is not compared either."""

    @property
    def names(self) -> frozenset[str]:
        """The columns that it names."""
        return frozenset(name for name in (self.tenant, self.column, *self.fields) if name is not None)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.match != "count" and self.column is None:
            raise ValueError(f"match = {self.match!r} needs column")
        if self.match.startswith("payload") and not self.path:
            raise ValueError(f"match = {self.match!r} needs path")
        return self


class LateArrival(Section):
    """How rows arrive where a queue stores events after the answer. Without it a row must be there with its answer."""

    within_s: Seconds
    """How long the last row may take after the last answer. The truth is read as soon as every acknowledged event has
    its row, and no later than this."""


class Isolation(Section):
    """Promises that row-level security keeps the tenants apart.

    The gate ``isolation`` then asks the catalog, and tries it as the target's role (``truth.runtime_dsn_env``), in
    transactions that are rolled back.
    """

    setting: Text
    """The setting that names the tenant to the policies, as in ``SET LOCAL app.current_tenant_id = '…'``."""


class Truth(Section):
    """The database that holds the truth. The DSNs come from the environment."""

    dsn_env: Variable = "RIG_TRUTH_DSN"
    """Environment variable with the DSN that sees every row."""
    runtime_dsn_env: Variable = "RIG_RUNTIME_DSN"
    """Environment variable with the DSN that the target itself uses. It may be the same role where no event table has
    row-level security."""
    canonical: CanonicalTable
    dead: DeadTable | None = None
    """The table of dead letters. Without it none are expected anywhere."""
    schemas: tuple[Identifier, ...] = Field(default=("public",), min_length=1)
    """Schemas of the target. Every text, JSON and bytea column in them is searched for personal values; the two event
    tables are searched for personal keys as well."""
    rejections: tuple[Identifier, ...] = ()
    """Those of the two event tables that may keep requests which were refused because they are forged."""
    volatile: Names = ()
    """Columns that may change after the row was stored, as ``column`` or ``table.column``, like a status that a worker
    sets. The gate ``lasting`` leaves them out. It looks at no column that the profile does not name."""
    moves_to: Names = ()
    """Tables to which the service moves rows, as an archive. What lies there is read as if it lay in the event table
    whose columns it has, under the same names."""
    quiet_s: float = Field(default=0.1, ge=0.1, le=SECONDS_CEILING)
    """The database is read once nobody has worked in it for this long. Must be below ``quiesce_timeout_s``. With
    ``[truth.arrival]`` it is not waited for."""
    quiesce_timeout_s: Seconds = 30
    """How long the database may take to become quiet after the last answer. A session that does nothing in its
    transaction for half of it has left the transaction open: the gate ``transactions`` names it."""

    arrival: LateArrival | None = None
    """For a service that answers before it stores."""
    isolation: Isolation | None = None
    """For a service whose tenants row-level security keeps apart."""

    @model_validator(mode="after")
    def _rejections_are_event_tables(self) -> Self:
        known = {table for table in (self.canonical.table, self.dead.table if self.dead else None) if table}
        for table in self.rejections:
            if table not in known:
                raise ValueError(
                    f"rejections: {table!r} is neither truth.canonical.table nor truth.dead.table; other tables may "
                    "keep what they like, so take it out"
                )
        return self

    @model_validator(mode="after")
    def _lasting_fits(self) -> Self:
        own = {self.canonical.table: [self.canonical.tenant, self.canonical.key]}
        if self.dead is not None:
            own[self.dead.table] = [self.dead.tenant, self.dead.column if self.dead.match == "key" else None]
        fixed = {f"{table}.{column}" for table, columns in own.items() for column in columns if column}
        for name in self.volatile:
            if name in fixed or any(each.endswith(f".{name}") for each in fixed):
                raise ValueError(f"volatile: {name!r} says whose the row is, and must not change; take it out")
        if wrong := [table for table in self.moves_to if table in own]:
            raise ValueError(f"moves_to: {wrong[0]!r} is an event table already; take it out")
        return self

    @model_validator(mode="after")
    def _rest_fits(self) -> Self:
        if self.isolation is not None and self.canonical.tenant is None:
            raise ValueError("[truth.isolation] needs the column with the tenant's id: truth.canonical.tenant")
        if self.quiet_s >= self.quiesce_timeout_s:
            raise ValueError(
                f"truth.quiet_s ({self.quiet_s:g}) must be below truth.quiesce_timeout_s ({self.quiesce_timeout_s:g}): "
                "lower the first or raise the second"
            )
        return self


class PersonalData(Section):
    """What the service does with personal data in a valid event."""

    policy: Literal["refuse", "scrub", "keep"] = "refuse"
    """``refuse``: the event goes to the dead letters, and the values are nowhere. ``scrub``: it is stored without them,
    but the keys may stay.
    ``keep``: it is stored as it is, in ``columns`` and nowhere else."""
    columns: tuple[Text, ...] = ()
    """With ``keep``: where the values may lie, as ``table.column`` or ``schema.table.column``."""

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if (self.policy == "keep") != bool(self.columns):
            raise ValueError('columns belong to policy = "keep": name the columns where personal data may lie')
        for column in self.columns:
            if "." not in column.strip("."):
                raise ValueError(f'columns: {column!r} must be "table.column"')
        return self
