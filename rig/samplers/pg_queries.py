"""The queries of pg_activity, by the server's version and the role's rights. Texts only, no connection.

They call the functions behind the views instead of the views. That saves the joins with the catalogs, twenty times a
second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

OWN_PREFIX = "rig-"
"""The application names of the rig's own connections begin with this."""

_LITERAL = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|''|\\.)*(?:'|\\?$)            # escape string
    | '(?:[^']|'')*(?:'|$)                           # string
    | \$([A-Za-z_]\w*)?\$ .*? (?:\$(?(1)\1|)\$|$)    # dollar-quoted string
    | --[^\n]*                                       # comments
    | /\* .*? (?:\*/|$)
    | (?<![\w$".])\d[\w.]*                           # number, but no parameter and no part of a name
    """,
    re.VERBOSE | re.DOTALL,
)

FACTS = """
SELECT current_setting('server_version_num')::int,
       pg_backend_pid(),
       (SELECT date_part('epoch', backend_start) FROM pg_stat_get_activity(pg_backend_pid())),
       current_database(),
       current_user::text,
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database()),
       current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
       current_setting('track_activities') = 'on',
       current_setting('track_io_timing') = 'on',
       to_regclass('pg_catalog.pg_stat_io') IS NOT NULL,
       to_regclass('pg_catalog.pg_stat_wal') IS NOT NULL,
       (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements')
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connection found out at its start; the fields are the columns of ``FACTS``."""

    version: int
    backend_pid: int
    backend_started_unix: float
    database: str
    user: str
    database_oid: int
    max_connections: int
    reserved_connections: int
    sees_all: bool
    tracks_activities: bool
    times_io: bool
    has_io: bool
    has_wal: bool
    statements_schema: str | None


def activity(facts: Facts) -> str:
    """One row per process of the server, without the sampler's own."""
    query_id = "a.query_id" if facts.version >= 140000 else "0::int8"
    return f"""
SELECT a.pid, coalesce(a.backend_type, ''), coalesce(a.application_name, ''),
       coalesce(pg_get_userbyid(a.usesysid)::text, ''), coalesce(a.state, ''), coalesce(a.wait_event_type, ''),
       coalesce(a.wait_event, ''), coalesce({query_id}, 0),
       date_part('epoch', clock_timestamp() - a.xact_start), coalesce(a.datid, 0)::int8
FROM pg_stat_get_activity(NULL) a WHERE a.pid <> pg_backend_pid()"""


def blocking(facts: Facts) -> str:
    """Who waits for whom, for the waiting pids of the parameter: columns of ``blocking`` behind ``at_ns``."""
    since = "coalesce(l.waitstart, w.state_change)" if facts.version >= 140000 else "w.state_change"
    return f"""
SELECT b.pid, b.blocking_pid, date_part('epoch', clock_timestamp() - {since}), coalesce(l.locktype, ''),
       coalesce(l.mode, ''), coalesce(c.relname::text, ''), coalesce(w.query, ''), coalesce(h.query, ''),
       coalesce(h.state, ''), coalesce(h.application_name, ''),
       date_part('epoch', clock_timestamp() - h.xact_start)
FROM (SELECT pid, unnest(pg_blocking_pids(pid)) AS blocking_pid FROM unnest(%s::int4[]) pid) b
JOIN pg_stat_get_activity(NULL) w ON w.pid = b.pid
LEFT JOIN pg_stat_get_activity(NULL) h ON h.pid = b.blocking_pid
LEFT JOIN LATERAL (SELECT * FROM pg_locks k WHERE k.pid = b.pid AND NOT k.granted LIMIT 1) l ON true
LEFT JOIN pg_class c ON c.oid = l.relation"""


LOCKS = """
SELECT locktype, mode, granted, count(*) FROM pg_locks
WHERE pid <> pg_backend_pid() AND (database IN (0, %s) OR database IS NULL)
GROUP BY locktype, mode, granted"""

_NUMBERS = """
SELECT {source!r} AS source, {item} AS item, e.key AS counter, e.value::float8 AS value
FROM {view} v, jsonb_each(to_jsonb(v)) e WHERE jsonb_typeof(e.value) = 'number' AND e.key <> ALL ({besides}){which}"""


def counters(facts: Facts) -> str:
    """Cumulative numbers as (source, item, counter, value), whatever columns this version's views have."""
    parts = [
        _NUMBERS.format(
            source="pg_stat_database",
            item="''",
            view="pg_stat_database",
            besides="'{datid,numbackends}'",
            which=" AND v.datname = current_database()",
        )
    ]
    if facts.has_wal:
        parts.append(_NUMBERS.format(source="pg_stat_wal", item="''", view="pg_stat_wal", besides="'{}'", which=""))
    if facts.has_io:
        item = "v.backend_type || '/' || v.object || '/' || v.context"
        parts.append(
            _NUMBERS.format(
                source="pg_stat_io", item=item, view="pg_stat_io", besides="'{op_bytes}'", which=" AND e.value <> '0'"
            )
        )
    return " UNION ALL ".join(parts)


STATEMENT_COUNTERS = ("calls", "total_exec_time", "rows", "shared_blks_read", "shared_blks_hit", "wal_bytes")
"""Columns of pg_stat_statements 1.8, of PostgreSQL 13. An older server refuses them, and the sampler reports that."""


def statements(facts: Facts) -> str:
    """Cumulative numbers of this database's statements, without their texts, which the server keeps in a file."""
    columns = ", ".join(f"sum({column})::float8" for column in STATEMENT_COUNTERS)
    return f"""
SELECT queryid::text, {columns} FROM {facts.statements_schema}.pg_stat_statements(false)
WHERE dbid = {facts.database_oid} AND queryid IS NOT NULL GROUP BY queryid"""


def statement_texts(facts: Facts) -> str:
    """Texts of the query ids of the parameter."""
    return f"""
SELECT queryid, min(query) FROM {facts.statements_schema}.pg_stat_statements(true)
WHERE dbid = {facts.database_oid} AND queryid = ANY(%s) GROUP BY queryid"""


def unseen(facts: Facts) -> Sequence[str]:
    """What this server and this role do not show, each with the remedy."""
    found = []
    if not facts.sees_all:
        found.append(
            f"states, waits and queries of other roles' sessions: the role {facts.user} is no member of pg_monitor "
            f"(GRANT pg_monitor TO {facts.user})"
        )
    if not facts.tracks_activities:
        found.append("states and waits: track_activities is off")
    if not facts.times_io:
        found.append("I/O times of the database: track_io_timing is off")
    if not facts.has_io:
        found.append("pg_stat_io: it needs PostgreSQL 16")
    if not facts.has_wal:
        found.append("pg_stat_wal: it needs PostgreSQL 14")
    if facts.statements_schema is None:
        found.append("pg_stat_statements: the extension is not installed in this database")
    return found


def without_literals(query: str, most: int = 200) -> str:
    """The query on one line of at most ``most`` characters, each literal a ``?``.

    The query of a session may hold personal data. This is no parser: all that could be a literal or a comment goes,
    also one that the server cut off.
    """
    bare = _LITERAL.sub(lambda found: " " if found[0].startswith(("--", "/*")) else "?", query)
    line = " ".join(bare.split())
    return line if len(line) <= most else line[: most - 1] + "…"
