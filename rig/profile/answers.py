"""What the target must answer, and in which table a row must then be."""

from __future__ import annotations

import json
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from rig.model import RequestClass, Row
from rig.profile.dotted import value_at
from rig.profile.fields import Header, Section, Status, Text


class BodyRule(Section):
    """What the body of a right answer must say: JSON with a value at a path, or a text."""

    path: Text | None = None
    """Dotted path into the JSON of the body; a number steps into a list."""
    equals: JsonValue = None
    """The value that must lie there."""
    one_of: tuple[JsonValue, ...] = ()
    """Values of which one must lie there."""
    present: bool | None = None
    """Whether something must lie there (``true``), or nothing but null (``false``)."""
    contains: Text | None = None
    """Text that the body must contain, without a path."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.equals is not None, bool(self.one_of), self.present is not None, self.contains is not None)
        if sum(ways) != 1 or (self.path is None) != (self.contains is not None):
            raise ValueError("give path with one of equals, one_of and present, or contains alone")
        return self

    def holds(self, body: bytes) -> bool:
        """Whether a body says so."""
        if self.contains is not None:
            return self.contains.encode() in body
        try:
            found = value_at(json.loads(body), self.path or "")
        except (ValueError, RecursionError):
            return False
        if self.present is not None:
            return (found is not None) == self.present
        return any(_is_same(found, value) for value in self.one_of or (self.equals,))


def _is_same(one: object, other: object) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class CorrelationAnswer(Section):
    """Where an answer carries the correlation id of its request (``headers.correlation_id``, ``<correlation>``)."""

    header: Header | None = None
    """Header of the answer."""
    path: Text | None = None
    """Dotted path into the JSON of its body."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.header is None and self.path is None:
            raise ValueError("give header or path, or both: where the answer carries the correlation id")
        return self


class Answer(Section):
    """What the target must answer to a request class, and in which table its row must then be.

    The section of each class has the same keys.
    """

    status: tuple[Status, ...] = Field(default=(200,), min_length=1)
    """The right answers. 5xx may be one: some services answer so, for the sender to try again."""
    again: tuple[Status, ...] = ()
    """The right answers to a key that is known already, where they differ: ``status = [201]``, ``again = [409]``. Only
    the first request of a key may then be answered with ``status``."""
    same_body: bool = False
    """Whether the answer to a replay has the body of the first answer."""
    body: BodyRule | None = None
    """What the body of a right answer says, like ``{ path = "status", one_of = ["accepted", "duplicate"] }``."""
    row: Row | None = None
    """Table of its row: ``canonical``, ``dead``, or ``none`` where nothing is stored. Without it: ``canonical`` for
    valid and replay, ``dead`` for malformed, personal and invalid_json."""

    @property
    def right(self) -> tuple[int, ...]:
        """Every right answer, to the first request of a key and to the others."""
        return self.status + self.again


class RouteAnswer(Section):
    """What one route answers to a request class, where it differs from ``[answers]``. A key that is left out is as
    there."""

    status: tuple[Status, ...] | None = Field(default=None, min_length=1)
    """The right answers."""
    again: tuple[Status, ...] | None = None
    """The right answers to a key that is known already."""
    same_body: bool | None = None
    """Whether the answer to a replay has the body of the first answer."""
    body: BodyRule | None = None
    """What the body of a right answer says."""
    row: Row | None = None
    """Table of its row."""


class Answers(Section):
    """The right answer to a request class, where it differs from the reference service's."""

    valid: Answer | None = None
    """To an event that is new and right."""
    replay: Answer | None = None
    """To an event that comes again and again."""
    malformed: Answer | None = None
    """To a body that is schema-invalid."""
    personal: Answer | None = None
    """To an event with personal data."""
    invalid_json: Answer | None = None
    """To a body that is cut off."""
    conflict: Answer | None = None
    """To the key of an earlier event with another body. It is sent where this is given."""
    forged: Literal["off"] | Answer | None = None
    """To a forged request; without it any 3xx or 4xx. ``off``: none is sent, because the target bans their sender."""

    correlation: CorrelationAnswer | None = None
    """Where the correlation id of a request comes back with its right answer."""

    def of(self, request_class: RequestClass) -> Answer | None:
        """The answer to a class; None where the profile does not say it."""
        answer: Answer | str | None = getattr(self, request_class.value)
        return answer if isinstance(answer, Answer) else None

    @property
    def given(self) -> dict[RequestClass, Answer]:
        """The answers that the profile says."""
        return {kind: answer for kind in RequestClass if (answer := self.of(kind)) is not None}
