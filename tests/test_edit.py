"""What the doctor says to write: it is valid TOML, stands where it says, and gives exactly the wanted document."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from rig.profile.edit import Write, paste

PROFILE = """\
version = 1

[probes]
health = "/up"   # asked often
ready = "/ready"

[[routes]]
name = "first"
body = '''
[1,
 {"probes":"<key>"}]
'''
malformed = [
  { remove = "id" },
  { set = "amount", to = "no" },
]

[routes.headers]
"X Topic" = "a"

[[routes]]
name = "second"
answers = { replay = { status = [200] } }

[truth.canonical]
table = "events"
"""


@pytest.mark.parametrize(
    ("table", "values", "where", "text"),
    [
        (("probes",), {"health": None}, "below [probes], take out health", ""),
        (("probes",), {"health": "/", "metrics": '/m"'}, "below [probes], in place of health",
         "health = \"/\"\nmetrics = '''/m\"'''"),
        (("answers", "valid"), {"status": [202]}, "at the end", "[answers.valid]\nstatus = [202]"),
        (("routes", 0, "answers", "replay"), {"again": [409]}, "at the end of [[routes]]",
         "[routes.answers.replay]\nagain = [409]"),
        (("routes", 0), {"malformed": [{"remove": "id"}]}, "below [[routes]], in place of malformed",
         'malformed = [{ remove = "id" }]'),
        (("routes", 0, "headers"), {"X Topic": "b"}, "below [routes.headers], in place of X Topic", '"X Topic" = "b"'),
        (("routes", 1), {"path": "/in"}, "below [[routes]]", 'path = "/in"'),
        (("truth",), {"schemas": ["a", "b"]}, "at the end", '[truth]\nschemas = ["a", "b"]'),
        (("truth", "canonical", "fields"), {"at": {"path": "at", "type": "iso"}}, "at the end",
         '[truth.canonical.fields]\nat = { path = "at", type = "iso" }'),
        ((), {"name": "x"}, "below the first line", 'name = "x"'),
    ],
)  # fmt: skip
def test_a_change_is_said_and_gives_the_document(
    table: tuple[str | int, ...], values: dict[str, Any], where: str, text: str
) -> None:
    edit = paste(PROFILE, Write(table, values))
    assert edit is not None
    assert (edit.where, edit.text) == (where, text)
    wanted: Any = tomllib.loads(PROFILE)
    place = wanted
    for step in table:
        place = place[step] if isinstance(step, int) else place.setdefault(step, {})
    for key, value in values.items():
        place.pop(key, None)
        place |= {} if value is None else {key: value}
    assert tomllib.loads(edit.profile) == wanted


@pytest.mark.parametrize(
    "table", [("routes", 1, "answers", "replay"), ("routes", 5), ("version", "x"), ("routes", "name"), ("routes",)]
)
def test_what_lines_alone_do_not_change_is_not_offered(table: tuple[str | int, ...]) -> None:
    assert paste(PROFILE, Write(table, {"status": [409]})) is None
