"""Names in a sentence."""

from __future__ import annotations

import json

from rig.text import by_word, json_text, last_lines, record_lines, some


def test_the_first_names_and_how_many_are_left_out() -> None:
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert some(str(n) for n in range(1_200)).endswith("5 and 1,194 more")


def test_what_is_said_of_many_is_said_once() -> None:
    said = [("S1", "a worker died"), ("S2", "interrupted"), ("S3", "a worker died"), ("S3", "a worker died")]
    assert by_word(said) == ["S1, S3: a worker died", "S2: interrupted"]
    assert by_word([(f"S{n}", "a worker died") for n in range(30)]) == ["S0, S1, S2 and 27 more: a worker died"]


def test_json_has_no_number_that_is_not_finite() -> None:
    document = {"a": float("nan"), "b": [1.5, float("inf"), {"c": (-float("inf"), True, None)}]}
    read = json.loads(json_text(document), parse_constant=lambda name: name)
    assert read == {"a": None, "b": [1.5, None, {"c": [None, True, None]}]}


def test_a_document_has_a_line_for_each_record() -> None:
    document = {
        "verdict": "PASS",
        "gates": [{"id": "é", "figures": {"n": 1.5}}, {"id": "b"}],
        "notes": [],
        "sub": {"a": [1]},
    }
    assert record_lines(document).split("\n") == [
        "{",
        '  "verdict": "PASS",',
        '  "gates": [',
        '    {"id": "é", "figures": {"n": 1.5}},',
        '    {"id": "b"}',
        "  ],",
        '  "notes": [],',
        '  "sub": {',
        '    "a": [1]',
        "  }",
        "}",
    ]
    assert json.loads(record_lines(document)) == document


def test_the_last_words_are_no_frames_of_a_stack() -> None:
    ruby = b"ready\nPG::Error - denied:\n\tapp.rb:7\n\tapp.rb:9\n"
    python = b"Traceback (most recent call last):\n  File app.py\nValueError: denied\n"
    assert last_lines(ruby) == "PG::Error - denied:"
    assert last_lines(python) == "ValueError: denied"
    assert last_lines("  a\n  b\n", 2) == "a | b"
    assert last_lines("") == "it said nothing"
