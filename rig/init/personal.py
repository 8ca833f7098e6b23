"""Which personal parts of an event its row keeps, by the names of keys and columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rig.init.places import read_json
from rig.truth.personal_keys import PersonalKeys, fold


def kept_parts(pairs: Iterable[tuple[Mapping[str, Any], Any]], keys: PersonalKeys) -> dict[str, list[str]]:
    """Columns that hold personal parts of their row's event, each with the paths in the event.

    A pair is a row by column and the event's document. A name whose value the service took away or blanked is not kept.
    """
    kept: dict[str, dict[str, None]] = {}
    for row, document in pairs:
        sent = list(_personal_parts(document, keys))
        for column, content in row.items():
            held = [part for _, part in _personal_parts({column: content}, keys)]
            if paths := [path for path, part in sent if part in held]:
                kept.setdefault(column, {}).update(dict.fromkeys(paths))
    return {column: list(paths) for column, paths in kept.items()}


def _personal_parts(document: Any, keys: PersonalKeys) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The path of each part with a personal name, with name and value; also in JSON within a text. No empty value."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        path, node = waiting.pop()
        node = read_json(node) if isinstance(node, str) else node
        if isinstance(node, Mapping):
            for key, value in node.items():
                at = f"{path}.{key}".removeprefix(".")
                if value not in (None, "", [], {}) and (name := keys.find_personal(key)):
                    yield at, (fold(name), value)
                waiting.append((at, value))
        elif isinstance(node, list):
            waiting.extend((f"{path}.{number}", each) for number, each in enumerate(node))
