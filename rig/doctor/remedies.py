"""What the profile must say for a finding to be none: keys and values. Whether it should is the reader's to decide.

What the target does wrong whatever a profile says (a row too many, a forged request that is stored) has no key here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from rig.doctor.context import DoctorContext
from rig.doctor.sample_requests import FORGED, INVALID_JSON, MALFORMED, PERSONAL, REPLAYED, SHARED, VALID, SampleResult
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.model import RequestClass, Row
from rig.profile import Profile, Truth, WebhookRoute
from rig.profile.edit import Write
from rig.truth.catalog import event_tables, find_table, read_catalog
from rig.truth.preflight import find_unfit_columns
from rig.truth.session import connect

_SEARCH_TIMEOUT_MS = 10_000
_WITHIN_S = 60
_ALIKE = 0.5
_BEGINNING = 8
"""Characters of a key by which its row is found, whatever became of the rest."""
_NUMBER_DIGITS = 15


def writes_of_answers(context: DoctorContext, name: str) -> tuple[Write, ...]:
    """Every route answers so: ``[answers]``. Otherwise: ``[routes.answers]``. None for a forged request with a row."""
    profile, results = context.profile, context.results[name]
    let_in = [result.key for result in results if result.forgery is not None and result.is_good]
    if let_in and any(_row_with(context, place, let_in) for place in (Row.CANONICAL, Row.DEAD)):
        return ()
    found: dict[str, Mapping[str, Any]] = {}
    writes: list[Write] = []
    for index, route in enumerate(profile.routes):
        own = [result for result in results if result.route == route.name]
        if all(result.is_right(profile) for result in own):
            continue
        if name == VALID and (path := _path_elsewhere(profile, route, own[0])):
            writes.append(Write(("routes", index), {"path": path}))
        taken = {result.variant for result in own if result.is_good} if name == MALFORMED else set()
        if 0 < len(taken) < len(own):
            writes.append(_without_variants(index, route, taken))
            own = [result for result in own if not result.is_good]
        if (values := _right_answers(name, own)) and not all(result.is_right(profile) for result in own):
            found[route.name] = values
    kind = results[0].request_class
    sent = {result.route for result in results}
    is_common = found.keys() == sent and len({json.dumps(values) for values in found.values()}) == 1
    if is_common and not any(kind in route.answers for route in profile.routes):
        return (*writes, Write(("answers", kind.value), next(iter(found.values()))))
    routes = {route.name: index for index, route in enumerate(profile.routes)}
    return (*writes, *(Write(("routes", routes[own], "answers", kind.value), found[own]) for own in found))


def _right_answers(name: str, results: Sequence[SampleResult]) -> dict[str, Any]:
    """The answers as they are; empty where they cannot be right."""
    statuses = [result.response.status for result in results]
    distinct = list(dict.fromkeys(statuses))
    first, rest = statuses[0], [status for status in distinct if status != statuses[0]]
    if 0 in statuses or name == SHARED or (name == VALID and not all(result.is_good for result in results)):
        return {}
    if name == REPLAYED:
        if not results[0].is_good or max(statuses) >= 500:
            return {}
        return {"status": [first], "again": rest} if rest and first not in statuses[1:] else {"status": distinct}
    return {} if name in FORGED and max(statuses) >= 500 else {"status": distinct}


def _path_elsewhere(profile: Profile, route: WebhookRoute, result: SampleResult) -> str:
    """The path that a redirect on the same host leads to."""
    base = urlsplit(profile.target.base_url or "")
    try:
        location = urlsplit(result.response.headers.get("location", ""))
    except ValueError:  # it may be anything
        return ""
    if not 300 <= result.response.status < 400 or location.netloc not in ("", base.netloc) or "<" in route.path:
        return ""
    return location.path.removeprefix(base.path.rstrip("/")) + (f"?{location.query}" if location.query else "")


def _without_variants(index: int, route: WebhookRoute, taken: Iterable[int]) -> Write:
    """The ways to spoil the body that the target takes for wrong."""
    left = [way.model_dump(exclude_none=True) for number, way in enumerate(route.malformed) if number not in taken]
    return Write(("routes", index), {"malformed": left})


_RIGHTS = """
SELECT format('%%I', r.rolname), format('%%I', n.nspname), format('%%I.%%I', n.nspname, c.relname),
    has_schema_privilege(r.oid, n.oid, 'USAGE'), ARRAY(
        SELECT name FROM unnest(ARRAY['SELECT', 'INSERT']) AS name WHERE NOT has_table_privilege(r.oid, c.oid, name)
    ), ARRAY(
        SELECT s.oid::regclass::text FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_class s ON s.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype = 'a'
            AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(r.oid, s.oid, 'USAGE') END)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, pg_catalog.pg_roles r
WHERE c.oid = %s AND r.rolname = %s
"""
"""ON CONFLICT reads, too. A column of type serial takes its number from a sequence of its own (deptype a)."""


def missing_rights(context: DoctorContext) -> list[str]:
    """What the target's role may not do in the table of accepted events, with the statement that allows it.

    Some services need none of it, as where a function of another role stores. So this is said only where they fail.
    """
    role = str(conninfo_to_dict(context.store.runtime_dsn or "").get("user", ""))
    with connect(context.store.truth_dsn) as connection:
        table = event_tables(connection, context.profile.truth).canonical
        rows = connection.execute(_RIGHTS, [table.oid, role]).fetchall()
    said: list[str] = []
    for name, schema, full, uses_schema, lacks, sequences in rows:
        rights = [] if uses_schema else [f"USAGE ON SCHEMA {schema}"]
        rights += [f"{', '.join(lacks)} ON {full}"] if lacks else []
        rights += [f"USAGE ON SEQUENCE {sequence}" for sequence in sequences]
        if rights:
            said.append(f"its role lacks rights: {', '.join(f'GRANT {right} TO {name}' for right in rights)}")
    return said


def find_narrow_columns(context: DoctorContext, result: SampleResult) -> list[str]:
    """The columns that are too narrow for what this request carries, where the catalog shows it."""
    with connect(context.store.truth_dsn) as connection:
        tables = event_tables(connection, context.profile.truth)
        said = list(find_unfit_columns(connection, tables, result.key, result.correlation))
    if "number" in context.profile.route(result.route).placeholders:
        said += [
            f"{tables.canonical}.{name} is {column.declared}, and <number> has up to {_NUMBER_DIGITS} digits"
            for name, column in tables.canonical.columns.items()
            if column.type in ("int2", "int4")
        ]
    return said


def describe_stored_key(context: DoctorContext, wrong: Sequence[Discrepancy]) -> list[str]:
    """How the key of a lost event lies in its row, where it was changed or cut off."""
    lost = [each.key for each in wrong if each.kind is DiscrepancyKind.LOST and each.key]
    column = context.profile.truth.canonical.key
    held = str(_row_with(context, Row.CANONICAL, [lost[0][:_BEGINNING]]).get(column, "")) if lost else ""
    if not lost or held == lost[0] or lost[0][:_BEGINNING] not in held.lower():
        return []
    return [f"truth.canonical.key: the row of {lost[0]} holds {held!r} in {column}"]


def writes_of_rows(context: DoctorContext, name: str, wrong: Sequence[Discrepancy]) -> tuple[Write, ...]:
    """What the profile says where these rows of one kind of event are right. The same is said once."""
    writes: list[Write] = []
    keys = {discrepancy.key for discrepancy in wrong}
    for discrepancy in wrong:
        writes += (write for write in _writes_of_row(context, name, discrepancy, keys) if write not in writes)
    return tuple(writes)


def _writes_of_row(context: DoctorContext, name: str, wrong: Discrepancy, keys: Collection[str]) -> Iterator[Write]:
    profile, dead = context.profile, context.profile.truth.dead
    request = next(each for each in context.sample_requests if each.scenario.label == wrong.scenario_run)
    index = [route.name for route in profile.routes].index(request.scenario.route)
    request_class = request.scenario.shares[0].request_class
    answers = _answers_of(profile, index, request_class)
    match wrong.kind:
        case DiscrepancyKind.LOST if profile.row(request_class, request.scenario.route) is Row.DEAD:
            yield _match_elsewhere(context, context.results[name]) or Write(answers, {"row": "none"})
        case DiscrepancyKind.LOST:
            row = _row_with(context, Row.CANONICAL, [wrong.key[:_BEGINNING]])
            if write := _key_elsewhere(context, row, index, wrong.key) or (None if row else _longer(profile.truth)):
                yield write
        case DiscrepancyKind.WRONG_CORRELATION:
            sent = {result.correlation for result in context.results[name]}
            row = _row_with(context, Row.CANONICAL, [wrong.key])
            column = next((name for name in row if row[name] in sent), None)
            yield Write(("truth", "canonical"), {"correlation": column})
        case DiscrepancyKind.ALTERED:
            yield from _columns_left(profile, index, wrong.detail)
        case DiscrepancyKind.FORGED if dead is not None and dead.table and "as a dead row" in wrong.detail:
            yield Write(("truth",), {"rejections": [dead.table]})
        case DiscrepancyKind.UNEXPECTED | DiscrepancyKind.MISROUTED:
            group = [group for group in context.truth.groups if group.scenario_run == wrong.scenario_run]
            if any(each.canonical for each in group) and name in (PERSONAL, MALFORMED):
                yield from _writes_where_accepted(context, name, index, keys)
            elif name in (MALFORMED, INVALID_JSON, PERSONAL) and any(each.dead for each in group):
                yield Write(answers, {"row": "dead"})


def _writes_where_accepted(context: DoctorContext, name: str, index: int, keys: Collection[str]) -> Iterator[Write]:
    """The policy of a service that accepts an event with personal data, or some of the malformed ones."""
    if name == PERSONAL:
        yield from writes_of_personal_data(context) or [Write(("personal_data",), {"policy": "scrub"})]
        own = context.profile.answers.of(RequestClass.PERSONAL)
        if own is not None and own.row is not None:
            yield Write(("answers", "personal"), {"row": "canonical"})
    else:
        route = context.profile.routes[index]
        own_results = [result for result in context.results[name] if result.route == route.name]
        yield _without_variants(index, route, {result.variant for result in own_results if result.key in keys})


def _answers_of(profile: Profile, index: int, request_class: RequestClass) -> tuple[str | int, ...]:
    """The table with the answer of a route: its own where there are several routes."""
    if len(profile.routes) == 1 and request_class not in profile.routes[0].answers:
        return ("answers", request_class.value)
    return ("routes", index, "answers", request_class.value)


def _longer(truth: Truth) -> Write:
    within_s = _WITHIN_S if truth.arrival is None else 2 * int(truth.arrival.within_s + 1)
    return Write(("truth", "arrival"), {"within_s": within_s})


def _columns_left(profile: Profile, index: int, detail: str) -> Iterator[Write]:
    """Without the fields that a discrepancy names."""
    dead = profile.truth.dead
    tables: list[tuple[tuple[str | int, ...], Iterable[str]]] = [
        (("routes", index, "fields"), profile.routes[index].fields),
        (("truth", "canonical", "fields"), profile.truth.canonical.fields),
        (("truth", "dead", "fields"), dead.fields if dead is not None else ()),
    ]
    for table, columns in tables:
        title = "dead letter's {}: " if "dead" in table else "{}: "
        if named := [column for column in columns if title.format(column) in f"; {detail}"]:
            yield Write(table, dict.fromkeys(named))
            return


def writes_of_personal_data(context: DoctorContext) -> tuple[Write, ...]:
    """The policy of a service that keeps personal data where it was found.

    None where only logs have it, as no profile may allow that, or the result of a statement.
    """
    hits = [hit for hit in context.truth.canary_hits if not hit.in_log]
    places = list(dict.fromkeys(hit.place for hit in hits if not hit.place.startswith("truth.")))
    known = [place for place in context.profile.personal_data.columns if place not in places]
    return (Write(("personal_data",), {"policy": "keep", "columns": [*known, *places]}),) if places else ()


def _key_elsewhere(context: DoctorContext, row: Mapping[str, Any], index: int, key: str) -> Write | None:
    """Where else the row of an event has its key, or how; None where it has it nowhere."""
    own = context.profile.truth.canonical
    column = next((name for name, value in row.items() if value == key), None)
    if column is not None and column != own.key:
        return Write(("truth", "canonical"), {"key": column})
    held = str(row.get(own.key, ""))
    if held == key:  # it has come meanwhile
        return _longer(context.profile.truth)
    if held.lower().endswith(key) and own.table is not None:
        name, table = (sql.Identifier(*words).as_string() for words in ([own.key], own.table.split(".")))
        text = f"substr(t.{name}::text, {len(held) - len(key) + 1})"
        text = text if held.endswith(key) else f"lower({text})"
        statement = f"SELECT {text} AS rig_key, t.* FROM {table} AS t"
        return Write(("truth", "canonical"), {"table": None, "sql": statement, "key": "rig_key"})
    body = context.profile.routes[index].body
    if held.endswith(key.replace("-", "")) and "<event>" in body:
        return Write(("routes", index), {"body": body.replace("<event>", "<key>")})
    return None


def _match_elsewhere(context: DoctorContext, results: Sequence[SampleResult]) -> Write | None:
    """By what else the dead letters name these requests; None where they name none."""
    for token in ("key", "correlation"):
        texts = [getattr(result, token) for result in results]
        row = _row_with(context, Row.DEAD, texts)
        for column, *path in _places(row, texts):
            if not path:
                return Write(("truth", "dead"), {"match": token, "column": column, "path": None})
            if not any("." in step for step in path):
                values = {"match": f"payload-{token}", "column": column, "path": ".".join(path)}
                return Write(("truth", "dead"), values)
    return None


def _places(value: Any, texts: Sequence[str], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place of a document that holds one of these texts and nothing else."""
    if isinstance(value, Mapping | list):
        for step, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _places(inner, texts, (*path, str(step)))
    elif value in texts:
        yield path


def _row_with(context: DoctorContext, place: Row, texts: Sequence[str]) -> dict[str, Any]:
    """A row of an event table that has one of these texts in any column; empty where none has, or it takes too long."""
    query = sql.SQL(
        "SELECT row_to_json(rig_row)::text FROM (SELECT * FROM {}) AS rig_row WHERE row_to_json(rig_row)::text ~* {}"
        " LIMIT 1"
    )
    try:
        with connect(context.store.truth_dsn) as connection:
            connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(_SEARCH_TIMEOUT_MS)))
            tables = event_tables(connection, context.profile.truth)
            source = tables.canonical.sql if place is Row.CANONICAL else tables.dead_source
            found = connection.execute(query.format(source, sql.Literal("|".join(texts)))).fetchone()
    except psycopg.Error:
        return {}
    # As texts: Python refuses numbers of thousands of digits.
    row: dict[str, Any] = json.loads(found[0], parse_int=str, parse_float=str) if found else {}
    return row


def writes_of_tables(connection: Connection[Any], truth: Truth) -> tuple[Write, ...]:
    """The table or column that is named most like one that is missing; nothing where none is like it."""
    catalog = read_catalog(connection)
    there = {schema for schema, _ in catalog}
    if not there.issuperset(truth.schemas):
        schemas = [schema for schema in truth.schemas if schema in there] or _alike(truth.schemas[0], there)
        return (Write(("truth",), {"schemas": schemas}),) if schemas else ()
    for section, own in (("canonical", truth.canonical), ("dead", truth.dead)):
        if own is None or own.table is None:
            continue
        columns = find_table(catalog, own.table, list(truth.schemas))
        if columns is None:
            names = [f"{schema}.{table}" if schema not in truth.schemas else table for schema, table in catalog]
            same = [name for name in names if name.endswith(f".{own.table}")] or _alike(own.table, names)
            return (Write(("truth", section), {"table": same[0]}),) if same else ()
        for key in ("tenant", "key", "correlation", "channel", "column"):
            column = getattr(own, key, None)
            if column is not None and column not in columns and (same := _alike(column, columns)):
                return (Write(("truth", section), {key: same[0]}),)
    return ()


def _alike(name: str, names: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(names), 1, _ALIKE)
