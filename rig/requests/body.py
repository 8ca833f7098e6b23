"""Webhook bodies: a profile's JSON text with placeholders, compiled so that it is filled quickly.

Flow: each placeholder is replaced by a sentinel number and the text is parsed once. For malformed bodies and for
personal data the document is changed. Then it is split at the sentinels. Pure; it knows nothing about vendors.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from rig.errors import ConfigError
from rig.profile import Mutation, PersonalField, WebhookRoute

PLACEHOLDERS = ("event", "number", "amount", "decimal", "unix", "iso", "source", "correlation", "key")
_CANARY_PREFIX = "canary-"
CANARIES = tuple(_CANARY_PREFIX + kind for kind in ("email", "phone", "name", "address", "ip", "ssn"))
SLOTS = (*PLACEHOLDERS, *CANARIES)
_NUMBERS = frozenset({"number", "amount", "unix"})
# Eighteen digits: valid as a JSON number and inside a JSON string, and in no body by chance.
_SENTINEL = 918_273_645_000_000_000
_SENTINEL_PATTERN = re.compile(r"918273645000000(\d{3})")


class Template:
    """A body with holes, named by ``slots``: a %-format of bytes, which is the fastest to fill."""

    def __init__(self, constants: Sequence[str], slots: Sequence[str]) -> None:
        """The ``slots`` lie between the ``constants``, so there is one fewer."""
        self.slots = frozenset(slots)
        text = constants[0].replace("%", "%%")
        for slot, constant in zip(slots, constants[1:], strict=True):
            text += ("%d" if slot in _NUMBERS else "%b") + constant.replace("%", "%%")
        self._text = text.encode()
        places = [SLOTS.index(slot) for slot in slots]
        self._pick: Callable[[Sequence[object]], object] = itemgetter(*places) if places else lambda _: ()

    def render(self, values: Sequence[object]) -> bytes:
        """Fill the holes from values in the order of ``SLOTS``: numbers as such, all others as bytes.

        IndexError or TypeError for one that is missing.
        """
        body: bytes = self._text % self._pick(values)
        return body


@dataclass(frozen=True, slots=True)
class Bodies:
    """All bodies of one route. ``personal`` has one template for each declared place and one with all of them."""

    valid: Template
    malformed: tuple[Template, ...]
    personal: tuple[Template, ...]


def compile_bodies(route: WebhookRoute) -> Bodies:
    """Compile a route's bodies; ConfigError names the route and what is wrong with its text."""
    document = _parse(route)
    bodies = Bodies(
        valid=_split(document),
        malformed=tuple(_split(_mutate(document, mutation, route)) for mutation in route.malformed),
        personal=tuple(_split(_with_personal(document, fields, route)) for fields in _personal_sets(route)),
    )
    _prove_valid_json(bodies, route)
    return bodies


def _parse(route: WebhookRoute) -> Any:
    def sentinel(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in PLACEHOLDERS:
            known = ", ".join(f"<{known}>" for known in PLACEHOLDERS)
            raise ConfigError(f"route {route.name!r}: body has the unknown placeholder <{name}>; known are {known}")
        return str(_SENTINEL + SLOTS.index(name))

    text = re.sub(r"<([a-z_]+)>", sentinel, route.body)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"route {route.name!r}: body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"route {route.name!r}: body must be a JSON object")
    found, kept = (Counter(_SENTINEL_PATTERN.findall(each)) for each in (text, json.dumps(document)))
    if found != kept:
        lost = ", ".join(f"<{SLOTS[int(number)]}>" for number in sorted(found - kept))
        raise ConfigError(
            f"route {route.name!r}: {lost} is not a value of its own in its body: it is part of a number "
            "(<amount>.00; use <decimal>) or is under a key that comes twice"
        )
    return document


def _split(document: Any) -> Template:
    pieces = _SENTINEL_PATTERN.split(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    return Template(pieces[::2], [SLOTS[int(number)] for number in pieces[1::2]])


def _mutate(document: Any, mutation: Mutation, route: WebhookRoute) -> Any:
    changed = copy.deepcopy(document)
    path = mutation.remove or mutation.set or ""
    parent, last = _parent(changed, path.split("."), route, path, create=False)
    if mutation.remove is not None:
        del parent[last]
    else:
        parent[last] = mutation.to
    return changed


def _personal_sets(route: WebhookRoute) -> Sequence[Sequence[PersonalField]]:
    one_each = [[field] for field in route.personal]
    return [*one_each, list(route.personal)] if len(one_each) > 1 else one_each


def _with_personal(document: Any, fields: Sequence[PersonalField], route: WebhookRoute) -> Any:
    changed = copy.deepcopy(document)
    for field in fields:
        parent, last = _parent(changed, field.at.split("."), route, field.at, create=True)
        parent[last] = str(_SENTINEL + SLOTS.index(_CANARY_PREFIX + field.kind))
    return changed


def _parent(document: Any, path: list[str], route: WebhookRoute, dotted: str, *, create: bool) -> tuple[Any, str | int]:
    """The container of the last step of a path, and that step as its key or index."""
    here = document
    for position, step in enumerate(path):
        last = position == len(path) - 1
        if isinstance(here, list):
            if not step.isdecimal() or int(step) >= len(here):
                break
            if last:
                return here, int(step)
            here = here[int(step)]
        elif isinstance(here, dict):
            if last and (create or step in here):
                return here, step
            if step not in here:
                if last or not create:
                    break
                here[step] = {}
            here = here[step]
        else:
            break
    raise ConfigError(f"route {route.name!r}: the path {dotted!r} does not lead anywhere in its body")


def _prove_valid_json(bodies: Bodies, route: WebhookRoute) -> None:
    sample = [1 if slot in _NUMBERS else b"0.01" if slot == "decimal" else b"x" for slot in SLOTS]
    for template in (bodies.valid, *bodies.malformed, *bodies.personal):
        try:
            json.loads(template.render(sample))
        except json.JSONDecodeError:
            raise ConfigError(
                f"route {route.name!r}: a text placeholder (<event>, <iso>, …) is in its body without quotes"
            ) from None
