"""From what probes were answered and the rows that came to what a profile says of a service. Pure.

The table of accepted events is the one that has one row of its own for each event. Copies (audit, inbox, jobs) have
such rows, too. So a table wins only where no other is better in anything: rows of wrong events, rows of replays, a
unique index with the key, how directly the key lies there, how much of the event has columns. Else both are named and
the question is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rig.init.columns import MappedColumn, SentEvent, guess_columns, map_columns
from rig.init.found import Found
from rig.init.new_rows import NewRow, WatchedTable
from rig.init.personal import kept_parts
from rig.init.places import Place, holds_number, places_of, quoted
from rig.model import RequestClass, Tenant
from rig.profile import Profile
from rig.text import by_word
from rig.truth.personal_keys import PersonalKeys

_ACCEPTED = (RequestClass.VALID, RequestClass.REPLAY)
_SIGNED = ("malformed", "no JSON")
"""What is wrong in these is not the signature."""


@dataclass(frozen=True, slots=True)
class ProbedEvent:
    """An event that was sent, and how its request was answered. ``number``: the how-manieth request of its key."""

    request_class: RequestClass
    tenant: Tenant
    key: str
    correlation: str
    event: SentEvent
    variant: int
    number: int
    status: int
    said: str

    @property
    def is_accepted(self) -> bool:
        """Whether it was answered 2xx."""
        return 200 <= self.status < 300

    def is_in(self, row: NewRow) -> bool:
        """Whether a row tells of it."""
        return any(mark in row.text for mark in marks_of(self.key, self.correlation))


@dataclass(frozen=True, slots=True)
class Observation:
    """All that was seen. ``nameless``: new rows after a class was sent that hold no mark, by table."""

    profile: Profile
    events: tuple[ProbedEvent, ...]
    rows: tuple[NewRow, ...]
    nameless: Mapping[RequestClass, Mapping[str, int]] = field(default_factory=dict)
    lags_s: Mapping[str, float] = field(default_factory=dict)
    """Of each table whose rows came after the answers: how long the last one took."""
    unread: tuple[str, ...] = ()
    referring: tuple[str, ...] = ()
    """Tables with rows that name no event and refer to a row that does, as lines of an order do."""

    def of(self, *classes: RequestClass) -> list[ProbedEvent]:
        """The events of some classes, each key once."""
        return [event for event in self.events if event.request_class in classes and not event.number]

    def rows_of(self, table: str, events: Iterable[ProbedEvent]) -> list[tuple[NewRow, ProbedEvent]]:
        """Each row of a table with the event that it tells of."""
        wanted = list(events)
        return [(row, event) for row in self.rows if str(row.table) == table for event in wanted if event.is_in(row)]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A table that has a row for each accepted event."""

    table: WatchedTable
    pairs: list[tuple[NewRow, ProbedEvent]]
    place: Place
    fields: Mapping[str, MappedColumn]
    guesses: Mapping[str, MappedColumn]
    merits: tuple[int, ...]

    def beats(self, other: _Candidate) -> bool:
        """Whether it is better in something and worse in nothing. Wrong events and replays outweigh the rest."""
        if self.merits[0] != other.merits[0]:
            return self.merits[0] > other.merits[0]
        return self.merits != other.merits and all(a >= b for a, b in zip(self.merits, other.merits, strict=True))


def marks_of(key: str, correlation: str) -> tuple[str, ...]:
    """Texts that only a row of an event with this key and this correlation id can hold, in small letters."""
    bare = key.replace("-", "")
    return (key, bare, key.encode().hex(), bare.encode().hex(), str(int(bare, 16)), correlation)


def is_settled(seen: Observation) -> bool:
    """Whether a table holds all events so plainly that no better one need be waited for."""
    return any(one.merits[1] and one.place.directness for one in _candidates(seen))


def find(seen: Observation) -> Found:
    """What is certain. What is not has no answer, and a line that says why."""
    candidates = _candidates(seen)
    best = [one for one in candidates if all(one is other or one.beats(other) for other in candidates)]
    answers, lines = _answers(seen)
    found = Found(answers, lines=lines)
    if not best:
        if not any(event.is_accepted for event in seen.of(*_ACCEPTED)):
            found = replace(found, answers={})  # whatever it refuses, it may refuse for the same reason
        return replace(found, lines=(("accepted events", _why_not(seen, candidates)), *lines))
    return _with_dead(seen, _with_canonical(seen, found, best[0]), best[0])


def _candidates(seen: Observation) -> list[_Candidate]:
    accepted = seen.of(*_ACCEPTED)
    if not accepted or not all(event.is_accepted for event in accepted):
        return []
    found = []
    for name, table in {str(row.table): row.table for row in seen.rows}.items():
        pairs = seen.rows_of(name, accepted)
        rows = Counter(event.key for _, event in pairs if event.request_class is RequestClass.VALID)
        singles = [event for event in accepted if event.request_class is RequestClass.VALID]
        if any(rows[event.key] != 1 for event in singles) or len({row.place for row, _ in pairs}) < len(pairs):
            continue
        places = places_of([(row, event.key) for row, event in pairs])
        if places:
            found.append(_candidate(seen, table, pairs, places))
    return [one for one in found if one is not None]


def _candidate(
    seen: Observation, table: WatchedTable, pairs: list[tuple[NewRow, ProbedEvent]], places: Sequence[Place]
) -> _Candidate | None:
    """None where the key lies only within JSON that is not the event's: a job, a log."""
    place = max(places, key=lambda each: (each.spelling.column in table.unique, each.directness))
    left_out = {_tenant_column(pairs), _correlation_column(seen, pairs)}
    left_out |= set() if place.spelling.path else {place.spelling.column}
    sent = [(row, event.event) for row, event in pairs]
    fields = map_columns(table, sent, frozenset(left_out))
    guesses = guess_columns(table, sent, frozenset(left_out | fields.keys()))
    if not place.directness and not fields:
        return None
    wrong = [
        event
        for event in seen.events
        if event.request_class not in _ACCEPTED
        and (event.request_class is RequestClass.FORGED or not event.is_accepted)
    ]
    is_clean = not seen.rows_of(str(table), wrong)
    merits = (
        int(is_clean) + int(len(pairs) == len({event.key for _, event in pairs})),
        int(place.spelling.column in table.unique),
        place.directness,
        len(fields),
    )
    return _Candidate(table, pairs, place, fields, guesses, merits)


def _why_not(seen: Observation, candidates: Sequence[_Candidate]) -> str:
    """Why no table was chosen, with what was seen."""
    if candidates:
        named = " or ".join(f"{one.table} (key in {one.place})" for one in candidates)
        return f"not certain: {named}"
    refused = next((event for event in seen.of(*_ACCEPTED) if not event.is_accepted), None)
    if refused is not None:
        return (
            f"none: the service answers {refused.status} to a valid event, saying {refused.said[:120]}; look at its "
            "log. Where a handler calls somebody else, give another --event"
        )
    accepted = seen.of(*_ACCEPTED)
    pairs = [pair for row in seen.rows for pair in seen.rows_of(str(row.table), accepted)]
    if column := holds_number([(row, event.key) for row, event in pairs]):
        return f"{column} holds the key as a number; give a statement in [truth.canonical] sql that turns it back"
    told = ", ".join(sorted({str(row.table) for row, _ in pairs}))
    unread = f"; not read, too large: {', '.join(seen.unread)}" if seen.unread else ""
    return (f"not found: rows of {told} tell of the events, but not one row an event" if told else
            "not found: no row of any table holds the key of an event within 20 s") + unread  # fmt: skip


def _with_canonical(seen: Observation, found: Found, best: _Candidate) -> Found:
    """With the table of accepted events."""
    place, pairs = best.place, best.pairs
    tenant, correlation = _tenant_column(pairs), _correlation_column(seen, pairs)
    schemas = dict.fromkeys((best.table.table.schema, *(row.table.table.schema for row in seen.rows)))
    answers = {
        **found.answers,
        "schemas": ",".join(schemas),
        "canonical-table": _name(best.table, list(schemas)),
        "canonical-key": place.spelling.column,
    }
    lines = [("accepted events", str(best.table)), ("key", str(place))]
    if tenant:
        answers["canonical-tenant"] = tenant
    if any(event.tenant.id for _, event in pairs):
        lines.append(("tenant", tenant or f"not found: no column holds the ids {_ids(pairs)}"))
    if seen.profile.headers.correlation_id and correlation:
        answers["canonical-correlation"] = correlation
        lines.append(("correlation id", correlation))
    lines += [("content", f"{column} = {part} ({part.type})") for column, part in best.fields.items()]
    lines += [("content, perhaps", f"{column} = {part}: no probe changed it") for column, part in best.guesses.items()]
    parts = kept_parts(
        [(row.values, event.event.document) for row, event in pairs], PersonalKeys(seen.profile.personal_keys)
    )
    personal = {f"{best.table}.{column}": paths for column, paths in parts.items()}
    lines += [("personal data", f"{column} keeps {', '.join(paths)}") for column, paths in personal.items()]
    if seen.referring:
        beside = f"{', '.join(seen.referring)}; `rig help your-own-service`, Child tables, says how they can be"
        lines.append(("not compared", beside))
    lag = seen.lags_s.get(str(best.table))
    lines.append(("arrival", "with the answer" if lag is None else f"up to {lag:.1f} s after the answer"))
    statement = "" if place.is_column else _statement(best.table, place)
    return replace(
        found, answers=answers, canonical_sql=statement, fields=best.fields, guesses=best.guesses, personal=personal,
        lag_s=lag, lines=(*lines, *found.lines),
    )  # fmt: skip


def _with_dead(seen: Observation, found: Found, best: _Candidate) -> Found:
    """With the table of dead letters, and the ways to spoil an event that the service does not take for right."""
    canonical = str(best.table)
    ways = seen.of(RequestClass.MALFORMED)
    stored = {event.variant for _, event in seen.rows_of(canonical, ways)}
    wrong = [event for event in ways if event.variant not in stored]
    table, place, pairs = _dead_table(seen, canonical, wrong)
    nameless = "" if table else _nameless_table(seen, canonical)
    names_row = {event.variant for _, event in pairs}
    kept = [event for event in wrong if not table or event.variant in names_row]
    answers, lines, statement = dict(found.answers), list(found.lines), ""
    if table is not None and place is not None:
        own, statement = _dead_answers(table, place, pairs, answers["schemas"].split(","))
        answers |= own
        lines.append(("dead letters", f"{table}, matched by {place}"))
    elif nameless:
        answers |= {"dead-table": nameless, "dead-match": "count"}
        lines.append(("dead letters", f"{nameless}, by numbers alone: no column names the request"))
    else:
        lines.append(("dead letters", "none seen"))
    dropped = [event for event in ways if event not in kept]
    mutations = seen.profile.routes[0].malformed
    whys = {True: "stored as a right event", False: "no row names it"}
    left_out = by_word(
        (_in_words(mutations[each.variant].model_dump()), whys[each.variant in stored]) for each in dropped
    )
    lines += [("left out", f"malformed {words}") for words in left_out]
    lines += [("malformed", _in_words(mutations[event.variant].model_dump())) for event in kept]
    row = "dead" if table or nameless else "none"
    if statuses := _list_statuses(event.status for event in kept):
        answers["malformed-status"] = statuses
    return replace(
        found,
        answers=answers,
        dead_sql=statement,
        malformed=tuple(mutations[event.variant].model_dump(exclude_none=True) for event in kept),
        malformed_row=row,
        invalid_json_row=row if _left_a_row(seen, str(table or nameless), RequestClass.INVALID_JSON) else "none",
        lines=tuple(lines),
    )


def _dead_table(
    seen: Observation, canonical: str, wrong: Sequence[ProbedEvent]
) -> tuple[WatchedTable | None, Place | None, list[tuple[NewRow, ProbedEvent]]]:
    """The table that has rows of wrong events and none of right ones."""
    for table in {str(row.table): row.table for row in seen.rows}.values():
        if str(table) == canonical or seen.rows_of(str(table), seen.of(*_ACCEPTED)):
            continue
        pairs = seen.rows_of(str(table), wrong)
        places = places_of([(row, event.key) for row, event in pairs]) if pairs else []
        if places:
            return table, places[0], pairs
    return None, None, []


def _nameless_table(seen: Observation, canonical: str) -> str:
    """The one table that got as many rows without a name as wrong events were sent."""
    sent = len([event for event in seen.events if event.request_class is RequestClass.MALFORMED])
    come = seen.nameless.get(RequestClass.MALFORMED, {})
    names = [name for name, rows in come.items() if sent > 1 and rows == sent and name != canonical]
    return names[0] if len(names) == 1 else ""


def _left_a_row(seen: Observation, table: str, kind: RequestClass) -> bool:
    sent = [event for event in seen.events if event.request_class is kind]
    return bool(seen.rows_of(table, sent)) or seen.nameless.get(kind, {}).get(table, 0) == len(sent) > 0


def _dead_answers(
    table: WatchedTable, place: Place, pairs: Sequence[tuple[NewRow, ProbedEvent]], schemas: list[str]
) -> tuple[dict[str, str], str]:
    """The answers about dead letters, and a statement where no column and no path is the key."""
    own = place.spelling
    answers = {"dead-table": _name(table, schemas), "dead-match": "key", "dead-column": own.column}
    if tenant := _tenant_column(pairs):
        answers["dead-tenant"] = tenant
    if place.is_column:
        return answers, ""
    is_plain = own.form == "key" and not place.prefix and not place.suffix and place.prefix is not None
    if is_plain and own.path and not any("." in step for step in own.path):
        return {**answers, "dead-match": "payload-key", "dead-path": ".".join(own.path)}, ""
    return answers, _statement(table, place)


def _answers(seen: Observation) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """The statuses of each class; 5xx is a fault until somebody says otherwise."""
    answers, lines = {}, []
    again = [event for event in seen.events if event.request_class is RequestClass.REPLAY and event.number]
    for name, option, events in (
        ("stored", "stored-status", seen.of(*_ACCEPTED)),
        ("again", "duplicate-status", again),
        ("malformed", "malformed-status", seen.of(RequestClass.MALFORMED)),
        ("no JSON", "invalid-json-status", seen.of(RequestClass.INVALID_JSON)),
        ("forged", "", seen.of(RequestClass.FORGED)),
    ):
        if statuses := _list_statuses(event.status for event in events):
            answers[option] = statuses
        seen_statuses = ", ".join(dict.fromkeys(str(event.status) for event in events))
        faults = sorted({event.status for event in events if event.status >= 500})
        note = f"; {faults[0]} is left out, write it into [answers] if it is meant" if faults else ""
        note = note or (
            "; it should be refused" if not option and "2" in {text[0] for text in seen_statuses.split()} else ""
        )
        if name in _SIGNED and "401" in seen_statuses:
            note = note or "; 401 though the signature is right: look for the reason, or answer 400"
        if events:
            lines.append((f"answer: {name}", f"{seen_statuses}{note}"))
    answers.pop("", None)
    return answers, tuple(lines)


def _list_statuses(statuses: Iterable[int]) -> str:
    return ",".join(dict.fromkeys(str(status) for status in statuses if 200 <= status < 500))


def _tenant_column(pairs: Sequence[tuple[NewRow, ProbedEvent]]) -> str:
    """The column that holds the id of each row's tenant; the one that is named so where several do. Empty: none."""
    if not pairs or not all(event.tenant.id for _, event in pairs):
        return ""
    columns = [
        column
        for column in pairs[0][0].values
        if all(str(row.values.get(column)) == event.tenant.id for row, event in pairs)
    ]
    return min(columns, key=lambda column: "tenant" not in column, default="")


def _correlation_column(seen: Observation, pairs: Sequence[tuple[NewRow, ProbedEvent]]) -> str:
    """The column that holds the correlation id of the first request of each key."""
    columns = pairs[0][0].values if pairs else {}
    return next((c for c in columns if all(row.values.get(c) == event.correlation for row, event in pairs)), "")


def _ids(pairs: Sequence[tuple[NewRow, ProbedEvent]]) -> str:
    return ", ".join(dict.fromkeys(event.tenant.id for _, event in pairs))


def _name(table: WatchedTable, schemas: Sequence[str]) -> str:
    """As a profile names it: without its schema where that is the first of those that it knows."""
    return table.table.name if schemas[:1] == [table.table.schema] else str(table)


def _statement(table: WatchedTable, place: Place) -> str:
    own = quoted(table.table.schema, table.table.name)
    return f"SELECT {place.expression(table)} AS rig_key, t.* FROM {own} AS t"


def _in_words(mutation: Mapping[str, Any]) -> str:
    return f"without {mutation['remove']}" if mutation["remove"] else f"with {mutation['set']} = {mutation['to']!r}"
