"""What the rows of an event must hold: the fields of a profile over the bodies of its routes. Pure.

Flow: all events of one route, class, body, source and tenant are one *form*. ``ContentPlan.form`` gives a form its
number; what each of its columns must hold is a text for PostgreSQL's ``format``, whose arguments (``ARGUMENTS``) follow
from an event's key. So no value need be made or kept for a single event. ``rig.truth.content`` compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, NamedTuple

from rig.errors import ConfigError
from rig.model import RequestClass, Row, Tenant
from rig.profile import ContentField, Profile, WebhookRoute
from rig.profile.dotted import steps_of
from rig.profile.placeholders import OF_SENDING, PLACEHOLDER, names_in
from rig.requests.body import Documents, as_form_values, as_json, documents_of, escaper, form_value
from rig.requests.template import PLACE, SENTINEL, SENTINEL_PATTERN, SLOTS

ARGUMENTS = ("event", "number", "amount", "decimal", "unix", "unix_ms", "iso", "key", "unix_s")
"""The arguments of ``format`` in their order; ``unix_s`` is ``unix_ms`` in seconds, with three decimals."""
_CONSTANT = frozenset({*ARGUMENTS, "source"})
_JSON = ("json", "json-contains")
_VALID = (RequestClass.VALID, RequestClass.REPLAY)
_INSTEAD: Mapping[tuple[str, str], str] = {
    **{("integer", slot): slot for slot in ("number", "amount", "unix", "unix_ms")},
    **{("decimal", slot): slot for slot in ("number", "amount", "unix", "unix_ms", "decimal")},
    ("cents", "decimal"): "amount",
    ("cents", "amount"): "decimal",
    ("unix", "unix"): "unix",
    ("unix", "unix_ms"): "unix_s",
    ("iso", "iso"): "unix",
}
"""(type, placeholder that the event has) → what the column is compared with: a number, or a time as unix seconds."""
CONTESTED = -1
"""The form of a request that carries another event's key: its content must not be in the row."""

UNIX_S = 999
"""Stands in a sentinel for ``unix_s``, which no body has."""

Path = tuple[str, ...]


class Comparison(NamedTuple):
    """One way to compare a column. ``type`` is that of the field, or ``null``; at the paths ``holes`` of a JSON value
    nothing is compared: there lies what is of the sending, or a personal value. ``lists``: where it has lists, whose
    items must be as many and in this order, even if the row may hold more."""

    column: str
    type: str
    holes: tuple[Path, ...] = ()
    lists: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What the columns of a row hold, by comparison: texts for ``format``."""

    row: Row
    texts: Mapping[Comparison, str]


class Unfit(Exception):
    """Why a field cannot be compared on a route, with the remedy."""


@dataclass
class ContentPlan:
    """All forms of a run's events. ConfigError where a field does not fit a route's event."""

    profile: Profile
    tenants: Sequence[Tenant]
    forms: list[Form] = field(default_factory=list)
    _numbers: dict[tuple[object, ...], int | None] = field(default_factory=dict)
    _documents: dict[tuple[str, str], Documents] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the profile maps no column at all."""
        dead = self.profile.truth.dead
        return not (self.profile.compares_content or (dead is not None and dead.fields))

    def require_fit(self) -> None:
        """Make the form of a valid event of every route."""
        for route in self.profile.routes:
            self.form(route, RequestClass.VALID, 0, None, self.tenants[0].name if self.tenants else "")
            if self.profile.truth.dead is not None:
                self._texts(route, self.profile.truth.dead.fields, RequestClass.VALID, 0, "", "", "truth.dead.")

    def form(
        self, route: WebhookRoute, request_class: RequestClass, index: int, source: str | None, tenant: str
    ) -> int | None:
        """The number of the form of request ``index`` of a share; None where nothing of it is compared."""
        if request_class is RequestClass.CONFLICT:
            return CONTESTED
        variant = index % max(1, route.variants(request_class))
        name = (route.name, request_class, variant, source, tenant)
        if name not in self._numbers:
            self._numbers[name] = self._make(route, request_class, variant, source, tenant)
        return self._numbers[name]

    @cached_property
    def _ids(self) -> dict[str, str]:
        return {tenant.name: tenant.id for tenant in self.tenants}

    def _make(
        self, route: WebhookRoute, request_class: RequestClass, variant: int, source: str | None, tenant: str
    ) -> int | None:
        row, dead = self.profile.row(request_class, route.name), self.profile.truth.dead
        if request_class is RequestClass.INVALID_JSON or row is Row.NONE:
            return None
        fields = self.profile.fields(route) if row is Row.CANONICAL else dead.fields if dead is not None else {}
        where = "" if row is Row.CANONICAL else "truth.dead."
        own_source = self.profile.default_source if source is None else source
        texts = self._texts(route, fields, request_class, variant, own_source, self._ids.get(tenant, ""), where)
        if not texts:
            return None
        self.forms.append(Form(row, texts))
        return len(self.forms) - 1

    def _texts(
        self,
        route: WebhookRoute,
        fields: Mapping[str, ContentField],
        request_class: RequestClass,
        variant: int,
        source: str,
        tenant_id: str,
        where: str,
    ) -> dict[Comparison, str]:
        known = (route.name, tenant_id)
        if known not in self._documents:
            self._documents[known] = documents_of(route, tenant_id)
        documents = self._documents[known]
        texts = {}
        for column, described in fields.items():
            if source != self.profile.default_source and column == self.profile.truth.canonical.channel:
                continue  # what another source means is for [[channels]] to say
            try:
                reader = FieldReader(route, documents, described, column, tenant_id)
                comparison, text = reader.read(request_class, variant)
            except Unfit as unfit:
                if request_class in _VALID:
                    raise ConfigError(f"route {route.name!r}: {where}fields.{column}: {unfit}") from None
                continue  # a body that was made invalid has no such value
            texts[comparison] = _for_format(text, reader.write(source))
        return texts


class FieldReader:
    """Reads one field from the event of a route; ``write`` makes JSON of a part of it."""

    def __init__(
        self,
        route: WebhookRoute,
        documents: Documents,
        described: ContentField,
        column: str,
        tenant_id: str,
        write: Callable[[Any], str] = as_json,
    ) -> None:
        self._write = write
        self._route = route
        self._documents = documents
        self._field = described
        self._column = column
        self._tenant_id = tenant_id

    def read(self, request_class: RequestClass, variant: int) -> tuple[Comparison, str]:
        """How the column is compared, and with which text, whose placeholders are sentinel numbers."""
        node, personal = self._node(request_class, variant)
        kind = self._field.type
        if kind in _JSON:
            holes: list[Path] = [*personal]
            text = self._write(_cut(node, (), holes))
            if () in holes:
                raise Unfit("its value is of the sending, and no row can be held against it; take the field out")
            lists = tuple(_lists(node, ())) if kind == "json-contains" else ()
            return Comparison(self._column, kind, tuple(holes), lists), text
        if personal:
            raise Unfit("a personal value lies in it; what became of that is not compared")
        if node is None:
            return Comparison(self._column, "null"), ""
        if isinstance(node, dict | list):
            raise Unfit(f'path {self._field.path!r} leads to an object or a list; give type = "json"')
        text = node if isinstance(node, str) else self._write(node)
        slots = [SLOTS[int(number)] for number in SENTINEL_PATTERN.findall(text)]
        if unstable := [slot for slot in slots if slot not in _CONSTANT]:
            raise Unfit(f"its value has <{unstable[0]}>, which no row can be held against; take the field out")
        if kind == "text":
            return Comparison(self._column, kind), text
        return Comparison(self._column, kind), self._number(kind, text, slots)

    def write(self, source: str) -> str:
        """The source as it stands in the text that ``read`` gives."""
        is_whole = self._field.path is None and self._field.constant is None
        if self._field.type in _JSON or (is_whole and self._route.format == "json"):
            return as_json(source)[1:-1]
        return str(escaper(self._route)(source).decode()) if is_whole else source

    def _node(self, request_class: RequestClass, variant: int) -> tuple[Any, tuple[Path, ...]]:
        described = self._field
        if described.constant is not None:
            return described.constant, ()
        if described.path is not None and PLACEHOLDER.search(described.path):
            return self._fill(described.path), ()
        document, personal = self._documents.of(request_class, variant)
        if isinstance(document, str):
            if described.path is not None or described.type != "text":
                raise Unfit('the body is a text: give path a text with placeholders, like "<event>"')
            if request_class not in _VALID:
                raise Unfit("a text that was changed is not compared")
            return document, ()
        if described.path is None:
            if described.type == "text":
                if self._route.format == "form":
                    raise Unfit('a whole form is compared with type = "json": an object of its names')
                return self._write(document), personal
            return (as_form_values(document) if self._route.format == "form" else document), personal
        steps = steps_of(document, described.path)
        inner = tuple(path[len(steps) :] for path in personal if path[: len(steps)] == steps)
        node = _follow(document, steps, described.path, self._route)
        is_of_form = self._route.format == "form" and described.type not in _JSON
        if is_of_form and len(steps) == 1 + isinstance(document[steps[0]], list):
            node = [form_value(one) for one in node] if isinstance(node, list) else form_value(node)
        return node, inner

    def _fill(self, text: str) -> str:
        """A text with placeholders, which must be somewhere in the request."""
        route = self._route
        in_body = text in route.body or text in (route.event or "")
        elsewhere = (route.path, *route.headers.values())
        if not in_body and text != "<key>" and not any(text in each for each in elsewhere):
            raise Unfit(f"path {text!r} stands nowhere in the request; copy a piece of the body, the path or a header")
        unstable = names_in(text) - _CONSTANT - {"tenant"} | (
            frozenset() if in_body else names_in(text) & {*OF_SENDING}
        )
        if unstable:
            raise Unfit(f"path has <{min(unstable)}>, which no row can be held against; take the field out")
        filled = text.replace("<tenant>", self._tenant_id)
        return PLACEHOLDER.sub(lambda match: str(SENTINEL + PLACE[match.group(1)]), filled)

    def _number(self, kind: str, text: str, slots: Sequence[str]) -> str:
        """What a number or a time is compared with."""
        if slots:
            instead = _INSTEAD.get((kind, slots[0]))
            if instead is None or SENTINEL_PATTERN.fullmatch(text) is None:
                shown = SENTINEL_PATTERN.sub(lambda match: f"<{SLOTS[int(match.group(1))]}>", text)
                raise Unfit(f"type {kind!r} does not fit its value {shown[:80]!r}; choose another type")
            return str(SENTINEL + (UNIX_S if instead == "unix_s" else PLACE[instead]))
        try:
            return _constant_number(kind, text)
        except (ValueError, InvalidOperation):
            raise Unfit(f"type {kind!r} does not fit its value {text[:80]!r}; choose another type") from None


_UNITS = ((10**17, 10**9), (10**14, 10**6), (10**11, 1000))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unit_of(number: Decimal) -> int:
    """How many of its units are a second, for a time since 1970 in seconds or in milli-, micro- or nanoseconds."""
    return next((unit for least, unit in _UNITS if abs(number) > least), 1)


def unix_of(text: str) -> Decimal:
    """Seconds since 1970 of a time in ISO 8601, with as many decimals as it has; ValueError where it is none."""
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    fraction = re.search(r"[.,](\d+)", text)
    whole = (at.replace(microsecond=0) - _EPOCH) // timedelta(seconds=1)
    return Decimal(whole) + (Decimal(f"0.{fraction[1]}") if fraction else 0)


def _constant_number(kind: str, text: str) -> str:
    if kind == "iso":
        return f"{unix_of(text):f}"
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    if kind == "cents":
        number = number * 100 if "." in text or "e" in text.lower() else number / 100
    if kind == "unix" and (unit := unit_of(number)) > 1:
        return f"{number / unit:.{len(str(unit)) - 1}f}"
    return f"{number:f}"


def _for_format(text: str, source: str) -> str:
    """The text as a format of PostgreSQL, with the source filled in."""

    def place(match: re.Match[str]) -> str:
        number = int(match.group(1))
        slot = "unix_s" if number == UNIX_S else SLOTS[number]
        return source.replace("%", "%%") if slot == "source" else f"%{ARGUMENTS.index(slot) + 1}$s"

    return SENTINEL_PATTERN.sub(place, text.replace("%", "%%"))


def _follow(document: Any, steps: Path, dotted: str, route: WebhookRoute) -> Any:
    here = document
    for step in steps:
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdecimal() and int(step) < len(here):
            here = here[int(step)]
        else:
            known = f"; there it has: {', '.join(map(str, here))[:200]}" if isinstance(here, dict) else ""
            written = "; write it with dots alone, like items.0.id" if re.search(r"[\[/$]", dotted) else ""
            raise Unfit(f"the path {dotted!r} leads nowhere in the event of the route{known}{written}")
    return here


def _lists(node: Any, at: Path) -> Iterator[Path]:
    if isinstance(node, list):
        yield at
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from _lists(value, (*at, str(key)))


def _cut(node: Any, at: Path, holes: list[Path]) -> Any:
    """A JSON value with null in the place of what is of the sending; where that was is added to ``holes``."""
    if isinstance(node, dict):
        return {key: _cut(value, (*at, key), holes) for key, value in node.items()}
    if isinstance(node, list):
        return [_cut(value, (*at, str(place)), holes) for place, value in enumerate(node)]
    text = node if isinstance(node, str) else as_json(node)
    if any(SLOTS[int(number)] not in _CONSTANT for number in SENTINEL_PATTERN.findall(text)):
        holes.append(at)
        return None
    return node
