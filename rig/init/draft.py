"""From answers to the text of a profile, which is loaded to prove that it is valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rig.errors import ConfigError, RigError, UsageError
from rig.init.found import Found
from rig.init.pasted import Pasted
from rig.init.places import quoted
from rig.init.questions import Answers, Question, ask_all, list_words
from rig.init.sample_event import EVENT_BYTES_MAX, SampleEvent, event_of_preset, id_prefix, read_event
from rig.machine.files import open_file
from rig.profile import Profile, parse_profile
from rig.profile.edit import basic_text, key_text, literal_text
from rig.profile.placeholders import names_in
from rig.profile.routes import sender_names, sender_preset
from rig.requests.body import compile_bodies

_EVENT: dict[str, Any] = {"id": "evt-1", "type": "order.created", "source": "web"}
_MADE_UP = SampleEvent("json", _EVENT, "the made-up event")
FROM_EVENT = ("event-id", "event-text", "event-amount", "event-time")
"""The questions whose defaults are in the event."""
_FIELDS_TRIED = 8
_FORM_TYPE = "application/x-www-form-urlencoded"


def draft(
    answers: Mapping[str, str],
    path: Path,
    pasted: Pasted | None = None,
    found: Found | None = None,
    *,
    tries_fields: bool = False,
) -> str:
    """The text of the profile; it loads and its bodies compile, else ConfigError or UsageError names what is wrong.

    ``tries_fields``: for probes, which find out without which fields the service refuses an event.
    """
    pasted = pasted or Pasted()
    found = found if found is not None and found.is_about(answers) else Found()
    event = own_event(answers, pasted)
    text: str = _template().render(
        given={name.replace("-", "_"): answer for name, answer in answers.items()},
        pasted=pasted,
        tenants=[
            (tenant, _variable(tenant) if answers["tenant-header"] else "")
            for tenant in list_words(answers["tenant-ids"])
        ],
        schemas=list_words(answers["schemas"]),
        found=found,
        statuses=_statuses(answers, found),
        canonical=_canonical(answers, event, found),
        dead=_dead(answers, found),
        malformed=_spoilt(answers, event, tries_fields) if found.malformed is None else found.malformed,
        **_body_keys(answers, pasted, event),
    )
    if len(text.encode()) > EVENT_BYTES_MAX:
        raise UsageError(f"the profile would be larger than {EVENT_BYTES_MAX:,} bytes; give a shorter event")
    profile = parse_profile(text, path)
    for route in profile.routes:
        compile_bodies(route)
    return text


def provisional(answers: Mapping[str, str], path: Path, pasted: Pasted, *, tries_fields: bool = False) -> Profile:
    """The profile of a service of which only the first answers are known; the defaults stand for the rest."""

    def ask(question: Question, so_far: Answers) -> str:
        if question.name in answers or question.name not in FROM_EVENT:
            return answers.get(question.name, question.default_after(so_far))
        return event_default(question.name, so_far, pasted)

    return parse_profile(draft(ask_all(ask), path, pasted, tries_fields=tries_fields), path)


def check_answer(name: str, answer: str, answers: Mapping[str, str], pasted: Pasted) -> None:
    """RigError where an answer is one that no profile can have, and the answers before are none of those."""
    now = {**answers, name: answer}
    if name == "event":
        own_event(now, pasted)  # what is in it is asked next
    elif (error := _error_of(now, pasted)) is not None and _error_of(answers, pasted) is None:
        raise error


def _error_of(answers: Mapping[str, str], pasted: Pasted) -> RigError | None:
    try:
        provisional(answers, Path("rig.toml"), pasted)
    except RigError as error:
        return error
    return None


def own_event(answers: Mapping[str, str], pasted: Pasted) -> SampleEvent | None:
    """The event that the answers are about; None where the preset of the sender has its own and it is no single one."""
    sender = answers["sender"]
    if sender and sender not in sender_names():
        raise UsageError(f"--sender {sender[:60]}: no such preset; `rig init --list-senders` lists all")
    if answers["event"]:
        if keeps_body(sender):
            raise UsageError(f"--event: {sender} signs within the body, or sends several events; leave --event out")
        return _read(answers["event"])
    if pasted.event is not None and not keeps_body(sender):
        return pasted.event
    return event_of_preset(sender) if sender else _MADE_UP


def keeps_body(sender: str) -> bool:
    """Whether the body of a preset does more than to hold an event: it carries the signature, or several events."""
    route = sender_preset(sender).get("route", {}) if sender else {}
    return "event" in route or "signature" in names_in(route.get("body", ""))


def event_default(name: str, answers: Mapping[str, str], pasted: Pasted) -> str:
    """The default of a question about the event, from the event itself."""
    event = own_event(answers, pasted)
    if event is None:
        return ""
    event = _single(event)
    if _is_presets(answers, pasted):
        path = event.id_path if name == "event-id" and key_is_in_event(answers) else ""
        return path if path and event.is_filled(path) else ""
    if name == "event-text":
        return event.reference_path if has_number_as_key(answers, pasted) else ""
    return {"event-id": event.id_path, "event-amount": event.amount_path, "event-time": event.time_path}[name]


def has_number_as_key(answers: Mapping[str, str], pasted: Pasted) -> bool:
    """Whether the key by which rows are looked up would be a number, so that a text beside it must be the key."""
    event = own_event(answers, pasted)
    if event is None or event.format == "text" or not answers["event-id"] or not key_is_in_event(answers):
        return False
    return _single(event).has_number(answers["event-id"])


def key_is_in_event(answers: Mapping[str, str]) -> bool:
    """Whether the body carries the key by which rows are looked up, and no header does."""
    headers = sender_preset(answers["sender"]).get("route", {}).get("headers", {}) if answers["sender"] else {}
    carried = any(names_in(text) & {"key", "event"} for text in headers.values())
    return not answers["idempotency-header"] and not carried


def write(text: str, path: Path) -> None:
    """Write a new file; UsageError where the file exists, ConfigError where it cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already; give another path, or move it away") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None


def _is_presets(answers: Mapping[str, str], pasted: Pasted) -> bool:
    sender = answers["sender"]
    return bool(sender) and not answers["event"] and (pasted.event is None or keeps_body(sender))


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("rig.init", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # TOML, where every value goes through its own quoting
    )
    environment.filters["quoted"] = basic_text
    environment.filters["literal"] = literal_text
    environment.filters["key"] = key_text
    environment.filters["numbers"] = lambda text: f"[{', '.join(dict.fromkeys(text.split(',')))}]"
    return environment.get_template("profile.toml.j2")


def _variable(tenant: str) -> str:
    """The name of the environment variable for the API key of a tenant."""
    return f"API_KEY_{re.sub(r'[^A-Z0-9]+', '_', tenant.upper()).strip('_')}"


def _read(file: str) -> SampleEvent:
    try:
        with open_file(Path(file)) as source:
            data = source.read(EVENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--event {file}: it cannot be read: {why or error}") from None
    return read_event(data, f"--event {file}")


def _single(event: SampleEvent) -> SampleEvent:
    """The event, or the first of several."""
    return SampleEvent(event.format, event.content[0], event.name) if event.batch > 1 else event


def _body_keys(answers: Mapping[str, str], pasted: Pasted, event: SampleEvent | None) -> dict[str, Any]:
    """The keys of the route about its body: ``body`` None where the preset's is sent."""
    form_type = pasted.content_type
    none = {"body": None, "events": 1, "format": "json", "content_type": form_type}
    if event is None or (_is_presets(answers, pasted) and not answers["event-id"]):
        return none
    events = event.batch
    event = _single(event)
    if not form_type and not answers["sender"]:
        form_type = {"form": _FORM_TYPE, "text": "application/xml", "json": ""}[event.format]
    in_event = key_is_in_event(answers)
    if answers["event-id"]:
        event = event.with_id(answers["event-id"], is_key=in_event, text_path=answers["event-text"])
    elif in_event:
        raise UsageError(
            "--event-id: no id was found in the event, and no header names it; give the dotted path of its id, or "
            "--idempotency-header"
        )
    if answers["event-amount"]:
        event = event.with_amount(answers["event-amount"])
    if answers["event-time"]:
        event = event.with_time(answers["event-time"])
    return {"body": event.body(), "events": events, "format": event.format, "content_type": form_type}


def _spoilt(answers: Mapping[str, str], event: SampleEvent | None, tries_fields: bool) -> list[dict[str, str]]:
    """Ways to make the body wrong. ``tries_fields``: also such as the service may take for right."""
    ways: list[dict[str, str]] = []
    if event is None:
        return ways
    if answers["event-amount"]:
        ways.append({"set": answers["event-amount"], "to": "no number"})
    names_its_row = key_is_in_event(answers) and answers["dead-table"]  # else no dead letter could be found
    if answers["event-id"] and event.format != "text" and not names_its_row:
        ways.insert(0, {"remove": answers["event-id"]})
    if tries_fields and event.batch == 1 and event.format == "json" and isinstance(event.content, Mapping):
        id_field = answers["event-id"].partition(".")[0]
        names = [name for name in event.content if name and "." not in name and name != id_field]
        ways += [{"remove": name} for name in names[:_FIELDS_TRIED]]
    return ways


def _statuses(answers: Mapping[str, str], found: Found) -> dict[str, tuple[str, str]]:
    """The statuses of each class, and the table of its row."""
    wrong = "dead" if answers["dead-table"] else "none"
    malformed, invalid_json = found.malformed_row or wrong, found.invalid_json_row or wrong
    return {
        "valid": (answers["stored-status"], "canonical"),
        "replay": (f"{answers['stored-status']},{answers['duplicate-status']}", "canonical"),
        "malformed": (answers["malformed-status"], malformed),
        "personal": (answers["stored-status"], "canonical")
        if found.personal
        else (answers["malformed-status"], malformed),
        "invalid_json": (answers["invalid-json-status"], invalid_json),
    }


def _canonical(answers: Mapping[str, str], event: SampleEvent | None, found: Found) -> dict[str, str]:
    """Table and key; a statement where the column holds more than the key."""
    if found.canonical_sql:
        return {"sql": found.canonical_sql, "key": "rig_key"}
    if found.answers:
        return {"table": answers["canonical-table"], "key": answers["canonical-key"]}
    column = f"t.{quoted(answers['canonical-key'])}"
    made = ""
    if event is not None and answers["event-id"] and key_is_in_event(answers):
        path = answers["event-text"] or answers["event-id"]
        prefix = id_prefix(str(event.value("event-id", path)), is_key=True) if event.batch == 1 else ""
        made = f"substr({column}::text, {len(prefix) + 1})" if prefix else ""
    if not made:
        return {"table": answers["canonical-table"], "key": answers["canonical-key"]}
    table = quoted(*answers["canonical-table"].split("."))
    return {"sql": f"SELECT {made} AS rig_key, t.* FROM {table} AS t", "key": "rig_key"}


def _dead(answers: Mapping[str, str], found: Found) -> dict[str, str]:
    """The section of the dead letters; empty where there are none."""
    if not answers["dead-table"]:
        return {}
    tenant = {"tenant": answers["dead-tenant"]} if answers["dead-tenant"] else {}
    if found.dead_sql and answers["dead-table"] == found.answers.get("dead-table"):
        return {"sql": found.dead_sql, **tenant, "match": "key", "column": "rig_key"}
    column = {"column": answers["dead-column"]} if answers["dead-match"] != "count" else {}
    path = {"path": answers["dead-path"]} if answers["dead-match"].startswith("payload") else {}
    return {"table": answers["dead-table"], **tenant, "match": answers["dead-match"], **column, **path}
