"""What the catalog says of row-level security: which tables have it, which policies, and whom it binds. One code for
preflight, ``rig doctor`` and the gate ``isolation``.

The truth role asks, because the target's role may not see the catalog of its own tables. Not for trials
(``rig.truth.isolation``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection, sql

from rig.evidence.isolation import SecuredTable
from rig.truth.tables import EventTables, Table

_COMMANDS = {"SELECT": "r", "INSERT": "a", "UPDATE": "w", "DELETE": "d"}
_ALL = "*"


def open_tables(connection: Connection[Any], tables: EventTables) -> tuple[str, ...]:
    """Notes about event tables without row-level security."""
    return tuple(
        f"row-level security is not enabled on {table}"
        for table in tables.all
        if not find_secured(connection, tables_behind(connection, table))
    )


def find_secured(connection: Connection[Any], oids: Sequence[int]) -> list[int]:
    """Those of the tables that have row-level security."""
    rows = connection.execute(
        "SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY(%s) AND relrowsecurity", [list(oids)]
    )
    return [oid for (oid,) in rows]


def tables_behind(connection: Connection[Any], table: Table) -> list[int]:
    """A table and its parents; of a view or a statement also the tables that it reads, by its plan."""
    plan = sql.SQL("EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM {}").format(table.sql)
    ((planned,),) = connection.execute(plan).fetchall()
    names = list(_relations(planned))
    rows = connection.execute(
        """
        SELECT ancestor::oid FROM (
            SELECT %s::oid AS oid
            UNION
            SELECT c.oid FROM unnest(%s::text[], %s::text[]) AS read (schema, name)
            JOIN pg_catalog.pg_namespace n ON n.nspname = read.schema
            JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = read.name
        ) read, LATERAL (
            SELECT read.oid AS ancestor UNION SELECT relid::oid FROM pg_catalog.pg_partition_ancestors(read.oid)
        ) family
        """,
        [table.oid, [schema for schema, _ in names], [name for _, name in names]],
    )
    return [oid for (oid,) in rows]


def _relations(plan: Any) -> Iterator[tuple[str, str]]:
    if isinstance(plan, dict):
        if "Relation Name" in plan:
            yield plan.get("Schema", ""), plan["Relation Name"]
        for part in plan.values():
            yield from _relations(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from _relations(part)


def find_bypasses(connection: Connection[Any], role: str) -> tuple[str, ...]:
    """Why row-level security does not bind a role: what it is, or what it may become."""
    rows = connection.execute(
        f"""
        SELECT r.rolname::text, r.rolsuper FROM pg_catalog.pg_roles r
        WHERE (r.rolsuper OR r.rolbypassrls) AND ({_may_become(connection, "r.oid")})
        ORDER BY r.rolname <> %(role)s, r.rolname
        """.encode(),
        {"role": role},
    ).fetchall()
    words = [(name, "is a superuser" if is_super else "has BYPASSRLS") for name, is_super in rows]
    if words and words[0][0] == role:  # a superuser may become everybody
        return (words[0][1],)
    return tuple(f"may become {name!r}, which {what}" for name, what in words)


def read_security(connection: Connection[Any], tables: EventTables, role: str, setting: str) -> list[SecuredTable]:
    """What the catalog says of each event table, and of the others through which the role reaches their rows."""
    found: dict[int, SecuredTable] = {}
    for table, tenant in zip(tables.all, _tenant_columns(tables), strict=True):
        for oid in _reached_rows(connection, table, tenant, role):
            found.setdefault(oid, _read_table(connection, oid, role, setting))
        view = _read_view(connection, table, role)
        if view is not None:
            found[table.oid] = view
    return list(found.values())


def _tenant_columns(tables: EventTables) -> list[str]:
    dead = tables.truth.dead
    return [tables.truth.canonical.tenant or "", dead.tenant or "" if dead else ""][: len(tables.all)]


def _reached_rows(connection: Connection[Any], table: Table, tenant: str, role: str) -> list[int]:
    """The tables that must have row-level security.

    Of a table with its partitions and parents: those on which the role has a privilege, the topmost where it has none.
    Of a view or a statement: the tables that have its tenant column, and not those where it only looks something up.
    """
    rows = connection.execute(
        """
        WITH RECURSIVE below AS (
            SELECT unnest(%(behind)s::oid[]) AS oid
            UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below ON i.inhparent = below.oid
        )
        SELECT c.oid, c.relkind::text,
            pg_catalog.has_schema_privilege(%(role)s, c.relnamespace, 'USAGE') AND (
                pg_catalog.has_table_privilege(%(role)s, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                OR pg_catalog.has_any_column_privilege(%(role)s, c.oid, 'SELECT, INSERT, UPDATE')),
            NOT c.relispartition,
            EXISTS (SELECT FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attname = %(tenant)s AND NOT a.attisdropped)
        FROM pg_catalog.pg_class c WHERE c.oid IN (SELECT oid FROM below) AND c.relkind IN ('r', 'p', 'm', 'f')
        ORDER BY c.oid
        """,
        {"behind": tables_behind(connection, table), "tenant": tenant, "role": role},
    ).fetchall()
    is_own = any(oid == table.oid for oid, *_ in rows)
    rows = [row for row in rows if row[4] or is_own]
    reached = [oid for oid, _, is_reached, _, _ in rows if is_reached]
    # A materialised view or a foreign table cannot have row-level security; out of reach it needs none.
    return reached or [oid for oid, kind, _, is_top, _ in rows if is_top and kind in ("r", "p")]


def _read_table(connection: Connection[Any], oid: int, role: str, setting: str) -> SecuredTable:
    row = connection.execute(
        f"""
        SELECT c.oid::regclass::text, c.relrowsecurity, c.relforcerowsecurity, {_may_become(connection, "c.relowner")},
            NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
        FROM pg_catalog.pg_class c WHERE c.oid = %(oid)s
        """.encode(),
        {"role": role, "oid": oid},
    ).fetchone()
    assert row is not None  # found in the same transaction
    name, enabled, forced, owned, is_plain = row
    open_policies, silent = _weak_policies(connection, oid, role, setting) if enabled else ((), ())
    return SecuredTable(name, enabled, forced, owned and is_plain, open_policies, silent)


def _weak_policies(
    connection: Connection[Any], oid: int, role: str, setting: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The policies that let every row through for a command that the role may give; those without the setting."""
    policies = connection.execute(
        """
        SELECT polname::text, polcmd::text, polpermissive, pg_catalog.pg_get_expr(polqual, polrelid),
            pg_catalog.pg_get_expr(polwithcheck, polrelid)
        FROM pg_catalog.pg_policy WHERE polrelid = %s AND EXISTS (
            SELECT FROM unnest(polroles) AS r (oid) WHERE r.oid = 0 OR pg_catalog.pg_has_role(%s, r.oid, 'USAGE'))
        ORDER BY polname
        """,
        [oid, role],
    ).fetchall()
    found: dict[str, None] = {}
    for command, letter in _COMMANDS.items():
        ((may,),) = connection.execute(
            "SELECT pg_catalog.has_table_privilege(%(role)s, %(oid)s, %(command)s)"
            if command == "DELETE"
            else "SELECT pg_catalog.has_any_column_privilege(%(role)s, %(oid)s, %(command)s)",
            {"role": role, "oid": oid, "command": command},
        ).fetchall()
        applying = [policy for policy in policies if policy[1] in (letter, _ALL)] if may else []
        for of_new_rows in (False, True):
            if (command == "INSERT" and not of_new_rows) or (command in ("SELECT", "DELETE") and of_new_rows):
                continue
            rules = [(name, loose, (of_new_rows and check) or using) for name, _, loose, using, check in applying]
            if not any(not loose and rule != "true" for _, loose, rule in rules):
                found |= {f"{name} for {command}": None for name, loose, rule in rules if loose and rule == "true"}
    silent = (
        name
        for name, _, is_permissive, *rules in policies
        if is_permissive and not any(setting in (rule or "") for rule in rules)
    )
    return tuple(found), tuple(silent)


def _read_view(connection: Connection[Any], table: Table, role: str) -> SecuredTable | None:
    """A view that the role may read and that shows it more than its own rights would; None where it is no such view."""
    row = connection.execute(
        """
        SELECT c.oid::regclass::text, r.rolname::text FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
        WHERE c.oid = %(oid)s AND c.relkind = 'v' AND pg_catalog.has_any_column_privilege(%(role)s, c.oid, 'SELECT')
            AND pg_catalog.has_schema_privilege(%(role)s, c.relnamespace, 'USAGE')
            AND NOT coalesce((SELECT option_value::boolean FROM pg_catalog.pg_options_to_table(c.reloptions)
                              WHERE option_name = 'security_invoker'), false)
            AND (r.rolsuper OR r.rolbypassrls OR EXISTS (
                SELECT FROM pg_catalog.pg_class base WHERE base.oid = ANY(%(behind)s) AND base.relkind IN ('r', 'p')
                    AND base.relowner = r.oid AND base.relrowsecurity AND NOT base.relforcerowsecurity))
        """,
        {"oid": table.oid, "role": role, "behind": tables_behind(connection, table)},
    ).fetchone()
    return SecuredTable(row[0], True, True, False, unbound_owner=row[1]) if row is not None else None


def _may_become(connection: Connection[Any], oid: str) -> str:
    """SQL: whether %(role)s has the rights of a role, or may take them with SET ROLE."""
    become = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    return f"(pg_catalog.pg_has_role(%(role)s, {oid}, 'USAGE') OR pg_catalog.pg_has_role(%(role)s, {oid}, '{become}'))"
