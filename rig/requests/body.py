"""Webhook bodies: a profile's text with placeholders, compiled so that it is filled quickly.

Flow of JSON and forms: each placeholder is replaced by a sentinel number and the text is parsed once. For malformed
bodies and for personal data the document is changed. Then it is written in its format and split at the sentinels. A
text (XML) is changed as a text. Pure; it knows nothing about vendors.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

from rig.errors import ConfigError
from rig.model import RequestClass
from rig.profile import Mutation, PersonalField, WebhookRoute
from rig.profile.dotted import Steps, steps_of
from rig.profile.placeholders import IN_BODY, PLACEHOLDER, TENANT
from rig.requests.template import CANARIES, NUMBERS, PLACE, SENTINEL, SENTINEL_PATTERN, SLOTS, FormTemplate, Template

_CANARY_OF = {slot.removeprefix("canary-"): slot for slot in CANARIES}
_IN_JSON = (*(name for name in IN_BODY if name not in TENANT), "events")


@dataclass(frozen=True, slots=True)
class Bodies:
    """All bodies of one route. ``personal`` has one template for each declared place and one with all of them.

    ``envelope`` holds the events of a batch; None where a request is one event.
    """

    valid: Template
    malformed: tuple[Template, ...]
    personal: tuple[Template, ...]
    envelope: Template | None = None


def compile_bodies(route: WebhookRoute, tenant: Mapping[str, str] | None = None) -> Bodies:
    """Compile a route's bodies; ConfigError names the route and what is wrong with its text.

    ``tenant``: what the placeholders of the tenant mean (``rig.profile.placeholders.TENANT``).
    """
    known = dict.fromkeys(TENANT, "x") if tenant is None else tenant
    text = route.body if route.event is None else route.event
    if route.format == "text":
        return _compile_text(route, text, known)
    document = _parse(route, text, known)
    bodies = Bodies(
        valid=_write(document, route),
        malformed=tuple(_write(_mutate(document, mutation, route), route) for mutation in route.malformed),
        personal=tuple(_write(_with_personal(document, fields, route), route) for fields in _personal_sets(route)),
        envelope=_envelope(route, known),
    )
    if route.format == "json":
        _prove_valid_json(bodies, route)
    return bodies


@dataclass(frozen=True, slots=True)
class Documents:
    """The events of one route before they are written: a sentinel number stands for each placeholder.

    A text body is a text. ``personal`` are the places of personal data in each variant of such a body, from the first
    part of a path that is made for it.
    """

    valid: Any
    malformed: tuple[Any, ...] = ()
    without_personal: tuple[Any, ...] = ()
    personal: tuple[tuple[tuple[str, ...], ...], ...] = ()

    def of(self, request_class: RequestClass, variant: int) -> tuple[Any, tuple[tuple[str, ...], ...]]:
        """The event of a class, and the places in it where personal data is put."""
        if request_class is RequestClass.MALFORMED:
            return self.malformed[variant], ()
        if request_class is RequestClass.PERSONAL:
            return self.without_personal[variant], self.personal[variant]
        return self.valid, ()


def documents_of(route: WebhookRoute, tenant_id: str) -> Documents:
    """The events of a route. What only a sender knows of the tenant, its secrets, has the sentinel of a signature."""
    hidden = str(SENTINEL + PLACE["signature"])
    known = {name: tenant_id if name == "tenant" else hidden for name in TENANT}
    text = route.body if route.event is None else route.event
    if route.format == "text":
        return Documents(_mark(text, known))
    document = _parse(route, text, known)
    personal = [_cut_personal(document, fields) for fields in _personal_sets(route)]
    return Documents(
        document,
        tuple(_mutate(document, mutation, route) for mutation in route.malformed),
        tuple(cut for cut, _ in personal),
        tuple(paths for _, paths in personal),
    )


def write_event(route: WebhookRoute, text: str) -> Template:
    """The template of an event whose JSON was written as ``text``; of a form, of its fields."""
    return FormTemplate.at_sentinels(text) if route.format == "form" else Template.at_sentinels(text)


def event_of(route: WebhookRoute, known: Mapping[str, str]) -> Any:
    """The event of a route, which is no text, with the values of its tenant and sentinel numbers."""
    return _parse(route, route.body if route.event is None else route.event, known)


def _cut_personal(document: Any, fields: Sequence[PersonalField]) -> tuple[Any, tuple[tuple[str, ...], ...]]:
    """A document without what personal data takes the place of, and the paths to where it is put."""
    cut, paths = copy.deepcopy(document), []
    for field in fields:
        steps = steps_of(cut, field.at)
        here, taken = cut, 0
        while taken < len(steps) - 1 and _has(here, steps[taken]):
            here = here[int(steps[taken])] if isinstance(here, list) else here[steps[taken]]
            taken += 1
        if _has(here, steps[taken]):
            if isinstance(here, list):
                here[int(steps[taken])] = None
            else:
                del here[steps[taken]]
        paths.append(tuple(steps[: taken + 1]))
    return cut, tuple(paths)


def _has(here: Any, step: str) -> bool:
    if isinstance(here, list):
        return step.isdecimal() and int(step) < len(here)
    return isinstance(here, dict) and step in here


def escaper(route: WebhookRoute) -> Any:
    """How a text is written between the quotes of the route's format: a function of str to bytes."""
    if route.format == "json":
        return lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode()
    if route.format == "text" and route.body.lstrip().startswith("<"):
        return lambda text: escape(text).encode()
    return str.encode


# --- JSON and forms ---


def _parse(route: WebhookRoute, text: str, known: Mapping[str, str]) -> Any:
    def sentinel(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in known:
            return json.dumps(known[name], ensure_ascii=False)[1:-1]
        if name not in _IN_JSON:
            listed = ", ".join(f"<{each}>" for each in IN_BODY)
            raise ConfigError(
                f"route {route.name!r}: body has the unknown placeholder <{name}>; known are {listed}; write \\u003c "
                "for a < of its own"
            )
        return str(SENTINEL + PLACE[name])

    text = PLACEHOLDER.sub(sentinel, text)
    try:
        document = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"route {route.name!r}: body is not valid JSON: {error}") from None
    kinds = (dict,) if route.format == "form" else (dict, list)
    if not isinstance(document, kinds):
        raise ConfigError(f"route {route.name!r}: body must be a JSON object{'' if len(kinds) == 1 else ' or array'}")
    found, kept = (Counter(SENTINEL_PATTERN.findall(each)) for each in (text, json.dumps(document)))
    if found != kept:
        lost = ", ".join(f"<{SLOTS[int(number)]}>" for number in sorted(found - kept))
        raise ConfigError(
            f"route {route.name!r}: {lost} is not a value of its own in its body: it is part of a number "
            "(<amount>.00; use <decimal>) or is under a key that comes twice"
        )
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large for a number of most receivers")
    return number


def _write(document: Any, route: WebhookRoute) -> Template:
    if route.format == "form":
        return FormTemplate.at_sentinels(as_form(document))
    return Template.at_sentinels(as_json(document))


def as_json(document: Any) -> str:
    """JSON as it is sent."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def as_form(document: Mapping[str, Any]) -> str:
    """A form as it is sent."""
    pairs = [(name, one) for name, value in document.items() for one in (value if isinstance(value, list) else [value])]
    return "&".join(f"{quote_plus(name)}={quote_plus(form_value(value))}" for name, value in pairs)


def as_form_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a form with their texts; a name that comes several times has a list of them."""
    return {
        name: [form_value(one) for one in value] if isinstance(value, list) else form_value(value)
        for name, value in document.items()
    }


def form_value(value: Any) -> str:
    """A value as a form has it: an object as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else as_json(value)


def _envelope(route: WebhookRoute, known: Mapping[str, str]) -> Template | None:
    if route.events == 1 and route.event is None:
        return None
    if route.event is None:
        return Template(["[", "]"], ["events"])
    return _write(_parse(route, route.body, known), route)


def _mutate(document: Any, mutation: Mutation, route: WebhookRoute) -> Any:
    changed = copy.deepcopy(document)
    path = mutation.remove or mutation.set or ""
    parent, last = _parent(changed, steps_of(changed, path), route, path, create=False)
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
        parent, last = _parent(changed, steps_of(changed, field.at), route, field.at, create=True)
        parent[last] = str(SENTINEL + PLACE[_CANARY_OF[field.kind]])
    return changed


def _parent(document: Any, path: Steps, route: WebhookRoute, dotted: str, *, create: bool) -> tuple[Any, str | int]:
    """The container of the last step of a path, and that step as its key or index."""
    here = document
    for number, step in enumerate(path, 1):
        key = _key_in(here, step, create=create)
        if key is None:
            break
        if number == len(path):
            return here, key
        here = here.setdefault(key, {}) if isinstance(here, dict) else here[key]
    known = f"; there it has: {', '.join(map(str, here))[:200]}" if isinstance(here, dict) else ""
    raise ConfigError(f"route {route.name!r}: the path {dotted!r} does not lead anywhere in its body{known}")


def _key_in(container: Any, step: str, *, create: bool) -> str | int | None:
    """A step of a path as the key or index of a container; None where it leads nowhere."""
    if isinstance(container, list) and step.isdecimal() and int(step) < len(container):
        return int(step)
    if isinstance(container, dict) and (create or step in container):
        return step
    return None


def _prove_valid_json(bodies: Bodies, route: WebhookRoute) -> None:
    sample = [1 if slot in NUMBERS else b"0.01" if slot == "decimal" else b"x" for slot in SLOTS]
    for template in (bodies.valid, *bodies.malformed, *bodies.personal):
        try:
            json.loads(template.render(sample))
        except json.JSONDecodeError:
            raise ConfigError(
                f"route {route.name!r}: a text placeholder (<event>, <iso>, …) is in its body without quotes"
            ) from None


# --- texts ---


def _compile_text(route: WebhookRoute, text: str, known: Mapping[str, str]) -> Bodies:
    """Only known placeholders are filled: any other ``<name>`` may be a tag of XML."""

    def template(body: str) -> Template:
        return Template.at_sentinels(_mark(body, known))

    def piece(given: str) -> str:
        if given not in text:
            raise ConfigError(f"route {route.name!r}: the text {given[:80]!r} is not in its body")
        return given

    def changed(mutation: Mutation) -> str:
        new = "" if mutation.remove is not None else form_value(mutation.to)
        return text.replace(piece(mutation.remove or mutation.set or ""), new, 1)

    def with_personal(fields: Sequence[PersonalField]) -> str:
        body = text
        for field in fields:
            canary = str(SENTINEL + PLACE[_CANARY_OF[field.kind]])
            body = body.replace(piece(field.at), canary + field.at, 1)
        return body

    return Bodies(
        valid=template(text),
        malformed=tuple(template(changed(mutation)) for mutation in route.malformed),
        personal=tuple(template(with_personal(fields)) for fields in _personal_sets(route)),
        envelope=template(route.body) if route.event is not None else None,
    )


def _mark(body: str, known: Mapping[str, str]) -> str:
    """A text with a sentinel number for each placeholder; those of the tenant are filled in."""

    def mark(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in known:
            return escape(known[name])
        return str(SENTINEL + PLACE[name]) if name in _IN_JSON else match.group(0)

    return PLACEHOLDER.sub(mark, body)
