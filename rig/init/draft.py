"""From answers to the text of a profile, which is loaded to prove that it is valid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rig.errors import ConfigError, UsageError
from rig.profile import parse_profile
from rig.requests.body import compile_bodies

_EVENT: dict[str, Any] = {"id": "evt-1", "type": "order.created", "source": "web"}
_EVENT_BYTES_MAX = 1 << 20
_RESERVED = re.compile(r'"@rig:([a-z]+)@"')


def draft(answers: Mapping[str, str], path: Path) -> str:
    """The text of the profile; it loads and its bodies compile, else ConfigError or UsageError names what is wrong."""
    event = _event(answers["event"])
    ids = [tenant.strip() for tenant in answers["tenant-ids"].split(",") if tenant.strip()]
    fixed = [] if answers["provision-sql"] else [(tenant, _variable(tenant)) for tenant in ids]
    text: str = _template().render(
        answers,
        given={name.replace("-", "_"): answer for name, answer in answers.items()},
        body=_body(event, answers),
        amount_at=answers["event-amount"],
        fixed=fixed,
        schemas=[schema.strip() for schema in answers["schemas"].split(",")],
        statuses={
            "valid": answers["stored-status"],
            "replay": f"{answers['stored-status']},{answers['duplicate-status']}",
            "malformed": answers["malformed-status"],
            "personal": answers["malformed-status"],
            "invalid_json": answers["malformed-status"],
        },
    )
    profile = parse_profile(text, path)
    for route in profile.routes:
        compile_bodies(route)
    return text


def write(text: str, path: Path) -> None:
    """Write a new file; UsageError where the file exists, ConfigError where it cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already; give another path, or move it away") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("rig.init", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # TOML, where every value goes through its own quoting
    )
    environment.filters["quoted"] = _quote
    environment.filters["literal"] = _literal
    environment.filters["numbers"] = lambda text: f"[{', '.join(dict.fromkeys(text.split(',')))}]"
    return environment.get_template("profile.toml.j2")


def _quote(text: str) -> str:
    """A TOML basic string; its escapes are JSON's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _literal(text: str) -> str:
    """A TOML literal string, which is easier to read; a basic one where that is not possible."""
    plain = text.isprintable() and "'''" not in text and not text.endswith("'")
    return f"'''{text}'''" if plain else _quote(text)


def _variable(tenant: str) -> str:
    """The name of the environment variable for the API key of a tenant."""
    return f"API_KEY_{re.sub(r'[^A-Z0-9]+', '_', tenant.upper()).strip('_')}"


def _event(file: str) -> dict[str, Any]:
    if not file:
        return dict(_EVENT)
    try:
        with Path(file).open("rb") as source:
            document = json.loads(source.read(_EVENT_BYTES_MAX))
    except OSError as error:
        raise UsageError(f"--event {file}: it cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--event {file}: it is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(f"--event {file}: it must hold one JSON object, an event as a sender posts it")
    return document


def _body(event: dict[str, Any], answers: Mapping[str, str]) -> str:
    """The event as a profile's body, with placeholders for its id, amount and time."""
    _replace(event, "event-id", answers, lambda old: "<event>" if isinstance(old, str) else "@rig:number@")
    if answers["event-amount"]:
        _replace(event, "event-amount", answers, _amount)
    if answers["event-time"]:
        _replace(event, "event-time", answers, lambda old: "<iso>" if isinstance(old, str) else "@rig:unix@")
    return _RESERVED.sub(r"<\1>", json.dumps(event, ensure_ascii=False))


def _amount(old: Any) -> str:
    if isinstance(old, str):
        return "<decimal>"
    return "@rig:decimal@" if isinstance(old, float) else "@rig:amount@"


def _replace(event: dict[str, Any], option: str, answers: Mapping[str, str], placeholder: Any) -> None:
    here: Any = event
    steps = answers[option].split(".")
    for step in steps[:-1]:
        here = _at(here, step, option, answers[option])
    old = _at(here, steps[-1], option, answers[option])
    if isinstance(old, dict | list | bool) or old is None:
        raise UsageError(
            f"--{option} {answers[option]}: give the path of a text or a number, not of {json.dumps(old)[:60]}"
        )
    here[int(steps[-1]) if isinstance(here, list) else steps[-1]] = placeholder(old)


def _at(here: Any, step: str, option: str, path: str) -> Any:
    try:
        return here[int(step)] if isinstance(here, list) else here[step]
    except (KeyError, IndexError, TypeError, ValueError):
        raise UsageError(f"--{option} {path}: the event has no {step!r} there") from None
