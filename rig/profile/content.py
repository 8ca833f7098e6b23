"""What a column of a row must hold of the event that was sent."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rig.profile.fields import Section, Text

ContentType = Literal["text", "integer", "decimal", "cents", "unix", "iso", "json", "json-contains"]


class ContentField(Section):
    """Where the value of a column lies in the event, and how the two are compared. NAME is the column.

    With neither ``path`` nor ``constant`` the column holds the whole event.
    """

    path: Text | None = None
    """Dotted path into the event as it is sent; a number steps into a list, and a form has its names. A text with
    placeholders, like ``PX-<event>``, is the value itself: for what stands in a text body, in the path or in a
    header."""
    constant: str | int | float | bool | None = None
    """The one value that the column has in every row of the route."""
    type: ContentType = "text"
    """``text``: the same characters, and in a column of numbers, bytes, addresses or intervals the same value.
    ``integer`` and ``decimal``: the same number, however it is written. ``cents``: one side counts hundredths. An event
    that writes a decimal point (``<decimal>``) has units, and its row a hundred times as much; any other event has
    cents, and its row a hundredth. ``unix`` (seconds, or in the row a smaller unit) and ``iso``: the same instant, to
    the precision that is sent, in a column of a time (without a zone: UTC), a number or a text.
    ``json``: equal as jsonb. ``json-contains``: the row's JSON may hold more than the event's, but
    no more items in a list."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.constant is not None and self.path is not None:
            raise ValueError("give path or constant, not both")
        if self.constant is not None and self.type not in ("text", "integer", "decimal"):
            raise ValueError(f'a constant is of type "text", "integer" or "decimal", not {self.type!r}')
        if self.constant is None and self.path is None and self.type not in ("text", "json", "json-contains"):
            raise ValueError(
                f'type {self.type!r} needs path: the whole event is of type "json", "json-contains" or "text"'
            )
        return self


class ChannelAlias(Section):
    """Spellings of ``utm_source`` that mean one channel."""

    sources: tuple[str, ...] = Field(min_length=2)
    """The spellings. S9 sends one event with each."""
    channel: str
    """The channel that all of them must be stored as."""
