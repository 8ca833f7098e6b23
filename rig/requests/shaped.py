"""Requests with shaped events: their bytes, and what their rows must hold if they are accepted. Pure.

Flow: ``ShapedRoute.make`` applies changes to the event of a route, lets the sender sign it, and reads the mapped fields
from it, as ``rig.requests.content`` does for plain events. A field that the change takes out, sets to null or writes in
another way is not compared: a service may have a default, or a spelling of its own. JSON is, always.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from rig.errors import ConfigError
from rig.model import RequestClass
from rig.profile import ContentField, Profile, WebhookRoute
from rig.profile.placeholders import names_in
from rig.requests.body import Documents, as_form, documents_of, event_of, write_event
from rig.requests.content import UNIX_S, Comparison, FieldReader, Unfit
from rig.requests.event_json import Style, write_json
from rig.requests.key_pairs import KeyPair, is_key_free, is_key_sent
from rig.requests.sender import Credentials, Values, constants_of
from rig.requests.shapes import Change, FieldRole, change_event, fields_of, lists_of
from rig.requests.targeter import FILL, Targets
from rig.requests.template import PLACE, SENTINEL_PATTERN

_NUMERIC = ("integer", "decimal", "cents")
_DIGITS_MOST = 40
"""A longer number is compared in JSON only: no other column is made for it."""


@dataclass(frozen=True, slots=True)
class ShapedRequest:
    """One request with a shaped event. ``expected``: what its row must hold, by comparison."""

    changes: tuple[Change, ...]
    key: str
    correlation: str
    tenant: str
    request: bytes
    body: bytes
    expected: Mapping[Comparison, str]


class ShapedRoute:
    """Makes the shaped requests of one route and tenant. ConfigError for a route whose body is a text."""

    def __init__(self, profile: Profile, targets: Targets, credentials: Credentials) -> None:
        self.route: WebhookRoute = profile.route(targets.scenario.route)
        if self.route.format == "text":
            raise ConfigError("its body is a text, and no JSON or form")
        self._profile, self._targets, self._tenant = profile, targets, credentials.tenant
        self._event = event_of(self.route, constants_of(self.route, credentials))
        self._compared = documents_of(self.route, self._tenant).valid
        self.fields = tuple(fields_of(self._event))
        self.lists = tuple(lists_of(self._event))

    @property
    def is_object(self) -> bool:
        """Whether the event is a JSON object, to which a field can be added."""
        return self.route.format == "json" and isinstance(self._event, dict)

    @property
    def is_key_sent(self) -> bool:
        """Whether a request can have another key."""
        return is_key_sent(self._profile, self.route)

    def make(
        self, seq: int, now: float, changes: Sequence[Change], key: str = "", shares: tuple[str, ...] = ()
    ) -> ShapedRequest:
        """Request ``seq`` of the scenario with these changes, perhaps another key; ``shares`` as in ``KeyPair``."""
        event, style = change_event(self._event, changes)
        text = as_form(event) if self.route.format == "form" else write_json(event, style)
        request, values = self._targets.shaped(seq, now, write_event(self.route, text), key, shares)
        expected = self._targets.expect(seq)
        body = request.partition(b"\r\n\r\n")[2]
        compared = dict(self._expect(changes, style, values, body))
        return ShapedRequest(
            tuple(changes), key or expected.key, expected.correlation, expected.tenant, request, body, compared
        )

    def keys_of(self, pair: KeyPair, seq: int) -> tuple[str, str]:
        """The two keys of a pair, made of the key of request ``seq``."""
        own = self.own_key(seq)
        return (own, self.own_key(seq + 1)) if pair.shares else pair.keys(own)

    def own_key(self, seq: int) -> str:
        """The key that request ``seq`` has where it is given no other."""
        return self._targets.expect(seq).key

    def allows(self, pair: KeyPair, *, is_uuid: bool) -> bool:
        """Whether a request can have such keys. ``is_uuid``: their column takes no other."""
        if not self.is_key_sent:
            return bool(pair.shares) and "event" not in pair.shares
        if "event" in pair.shares and "event" not in names_in(self.route.event or self.route.body):
            return False
        return not pair.needs or (not is_uuid and (pair.needs == "text" or is_key_free(self._profile, self.route)))

    def _expect(
        self, changes: Sequence[Change], style: Style, values: Values, body: bytes
    ) -> Iterator[tuple[Comparison, str]]:
        """What each mapped column must hold, where a row can be held against it."""
        for fill in FILL.values():
            fill(values)
        documents = Documents(change_event(self._compared, changes)[0])
        for column, described in self._profile.fields(self.route).items():
            if not self._is_comparable(column, described, changes):
                continue
            is_whole_text = described.type == "text" and described.path is None and described.constant is None
            write = partial(write_json, style=style) if is_whole_text else write_json
            reader = FieldReader(self.route, documents, described, column, self._tenant, write)
            try:
                comparison, text = reader.read(RequestClass.VALID, 0)
            except Unfit:
                continue
            if is_whole_text and self.route.event is None:
                yield comparison, body.decode()  # escapes and all
            elif comparison.type != "null" and (described.type not in _NUMERIC or len(text) <= _DIGITS_MOST):
                yield comparison, _fill(text, values, reader.write(self._profile.default_source))

    def _is_comparable(self, column: str, described: ContentField, changes: Sequence[Change]) -> bool:
        changed = [field for field in self.fields for change in changes if field.path == change.path]
        if column == self._profile.truth.canonical.channel and any(field.slot == "source" for field in changed):
            return False  # what another source means is not said
        if described.constant is not None:
            texts = (FieldRole.TEXT, FieldRole.CURRENCY)
            return not any(field.role in texts for field in changed)  # it may follow from that text
        for field in changed:
            if field.name == described.path and field.role in (FieldRole.INTEGER, FieldRole.DECIMAL):
                own = next(str(change.value) for change in changes if change.path == field.path)
                is_fraction = "." in own or "e" in own.lower()
                if described.type == "text" or is_fraction != (field.role is FieldRole.DECIMAL):
                    return described.type in ("integer", "decimal")
        return True


def _fill(text: str, values: Values, source: str) -> str:
    """A text of ``FieldReader`` with the values of an event."""

    def value(match: re.Match[str]) -> str:
        number = int(match.group(1))
        if number == UNIX_S:
            return f"{Decimal(str(values[PLACE['unix_ms']])) / 1000:.3f}"
        found = source if number == PLACE["source"] else values[number]
        return found.decode() if isinstance(found, bytes) else str(found)

    return SENTINEL_PATTERN.sub(value, text)
