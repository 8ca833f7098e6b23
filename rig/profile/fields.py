"""What a single value in a profile may look like. Whole sections are in the files that are named like them.

Much of a profile goes on the wire or on a command line as it stands. No value of these types can end a line of an HTTP
request, give a request a second length or host, or cut a command short.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rig.limits import REQUESTS_CEILING, SECONDS_CEILING
from rig.machine.urls import split_base_url
from rig.profile.placeholders import IN_HEADER, IN_PATH, IN_SIGNED, require_known

_RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _matching(pattern: str, meaning: str) -> AfterValidator:
    """Lets a text through that matches as a whole. Much of it goes on the wire: no line end may get there."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"{value[:80]!r} is not {meaning}")
        return value

    return AfterValidator(check)


def _known(placeholders: tuple[str, ...]) -> AfterValidator:
    return AfterValidator(require_known(placeholders))


def _require_free_header(header: str) -> str:
    if header.lower() in _RESERVED_HEADERS:
        has_key = header.lower() in ("content-encoding", "content-type", "host")
        own = f"give {header.lower().replace('-', '_')}" if has_key else "leave it out"
        raise ValueError(f"{header!r} is a header that the rig writes itself; {own}")
    return header


def require_regex(pattern: str) -> str:
    """The pattern; ValueError where it is none."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        why = str(error)  # it may repeat a control character of the pattern
        why = why if why.isprintable() else ascii(why)
        raise ValueError(f"{pattern[:80]!r} is no regular expression: {why}") from None
    return pattern


def _require_base_url(url: str) -> str:
    split_base_url(url)
    return url


NAME_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
Name = Annotated[str, _matching(NAME_PATTERN, "a name (at most 63 of letters, digits, dot, dash, underscore)")]
Header = Annotated[
    str, _matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", "the name of a header"), AfterValidator(_require_free_header)
]
HeaderValue = Annotated[
    str, _matching(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", "the value of a header (printable ASCII on one line)")
]
HeaderPrefix = Annotated[
    str, _matching(r"([\x21-\x7e][\x20-\x7e]*)?", "the beginning of a header's value (printable ASCII, no space first)")
]
PathText = Annotated[
    str, _matching(r"/[\x21-\x7e]*", "a path (it begins with / and has no spaces, only ASCII)"), _known(IN_PATH)
]
HeaderText = Annotated[HeaderValue, _known(IN_HEADER)]
SignedText = Annotated[
    str, _matching(r"[\x0a\x20-\x7e]+", "what is signed: printable ASCII with placeholders"), _known(IN_SIGNED)
]
Route = Annotated[str, _matching(r"/[\x21-\x7e]*", "a path (it begins with / and has no spaces, only ASCII)")]
Series = Annotated[str, _matching(r"[A-Za-z_:][A-Za-z0-9_:]*", "the name of a Prometheus series")]
Identifier = Annotated[str, _matching(r"[^\x00]{1,63}", "a name that PostgreSQL knows (1 to 63 characters)")]
Text = Annotated[str, _matching(r"[^\x00]+", "a text (it is empty, or has a NUL in it)")]
Names = Annotated[tuple[Identifier, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
"""Several names, or a single one without a list."""
Word = Annotated[str, _matching(r"[^\x00]*", "a word of a command or an environment (it has a NUL in it)")]
Pattern = Annotated[Text, AfterValidator(require_regex)]
Command = Annotated[tuple[Word, ...], Field(min_length=1)]
Variable = Annotated[str, _matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
ScenarioId = Annotated[str, _matching(r"S([1-9]|10)", "a scenario; known are S1 to S10")]
BaseUrl = Annotated[str, AfterValidator(_require_base_url)]
Status = Annotated[int, Field(ge=200, le=599)]
Seconds = Annotated[float, Field(gt=0, le=SECONDS_CEILING)]
Count = Annotated[int, Field(ge=1, le=REQUESTS_CEILING)]


@dataclass(frozen=True, slots=True)
class OldName:
    """Marks a key that was renamed: ``cooldown_s: Annotated[float, OldName("floor_s")]``. Both names are accepted."""

    name: str


class Section(BaseModel):
    """A table of a profile: unknown keys are errors, and the docstring below a key is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def old_names(cls) -> dict[str, str]:
        """Old names of keys, each with the name that the key has now."""
        return {
            marker.name: info.alias or field
            for field, info in cls.model_fields.items()
            for marker in info.metadata
            if isinstance(marker, OldName)
        }

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, given: Any) -> Any:
        names = cls.old_names()
        if not names or not isinstance(given, dict):
            return given
        for old, new in names.items():
            if old in given and new in given:
                raise ValueError(f"{old} is the old name of {new}; give {new} alone")
        return {names.get(key, key): value for key, value in given.items()}
