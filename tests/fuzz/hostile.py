"""What fuzzing throws: values that break careless readers, changes to documents and bytes, documents of a schema.

Strategies only. Hand-written rather than from a package: the schemas are ours and small, and a change to a document
that is right but for one thing gets further than a random one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", "\x00", "a\x00b", "\r\nX-Injected: yes", "a\nb", "\t", "\x1b[31mred", "\u202egnp.exe", "é😀\u2028",
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "{{7*7}}{% raw %}",
    'x"; drop table tenants; --', "'; DROP TABLE tenants; --", "%s%(x)s%n", "{", "{0.__class__}", "{python}{nothing}",
    "../../../../etc/passwd", "/etc/passwd", "..", ".", "~", "C:\\x", "file:///etc/passwd", "$(id)", "`id`", "; id",
    "http://127.0.0.1@evil.example/", "http://[::1", "http://evil.example#@127.0.0.1", "-1", "nan", "True", "<event>",
    "A" * 70, "A" * 5000, "[" * 200, "\ufeff", "\\u0000", "\ufffe",
)  # fmt: skip
"""Each has broken some reader somewhere."""
NUMBERS = (-1, 0, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, float("inf"), float("nan"), 1e-320)

texts = st.sampled_from(TEXTS) | st.text(max_size=12)
scalars = texts | st.sampled_from(NUMBERS) | st.booleans() | st.integers()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


def places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, the document itself left out."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from places(value, (*above, key))


@st.composite
def changed(draw: st.DrawFn, document: Any, replacement: st.SearchStrategy[Any] = values) -> Any:
    """The document with one to three of its values replaced, removed, doubled or renamed."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(made))
        if not known:
            return draw(replacement)
        *above, last = draw(st.sampled_from(known))
        inner = made
        for key in above:
            inner = inner[key]
        match draw(st.sampled_from(("replace", "replace", "replace", "remove", "add"))):
            case "replace":
                inner[last] = draw(replacement)
            case "remove":
                del inner[last]
            case _ if isinstance(inner, list):
                inner.append(draw(replacement))
            case _:
                inner[draw(texts)] = draw(replacement)
    return made


@st.composite
def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes cut off, overwritten, or with others put in between."""
    at = draw(st.integers(0, len(data)))
    few = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\x00", b"\xff\xfe", b'"', b"'''", b"[", b"\r\n"]))
    match draw(st.sampled_from(("cut", "overwrite", "insert", "prefix"))):
        case "cut":
            return data[:at]
        case "overwrite":
            return data[:at] + few + data[at + len(few) :]
        case "insert":
            return data[:at] + few + data[at:]
        case _:
            return few + data


def from_schema(schema: dict[str, Any], root: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Documents that a JSON schema allows, or nearly: bounds and patterns are left for the reader to check."""
    if "$ref" in schema:
        return from_schema(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, depth + 1)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return st.one_of([from_schema(each, root, depth + 1) for each in schema[choice]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            fields = {name: from_schema(each, root, depth + 1) for name, each in schema["properties"].items()}
            needed = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(needed, optional=fields if depth < 3 else {})
        case "object":
            inner = schema.get("additionalProperties")
            kept = from_schema(inner, root, depth + 1) if isinstance(inner, dict) else values
            return st.dictionaries(texts, kept, max_size=2)
        case "array":
            return st.lists(from_schema(schema.get("items") or {}, root, depth + 1), max_size=2)
        case "string":
            return texts | st.sampled_from(("/path", "X-Name", "name", "RIG_X", "SELECT 1", '{"id":"<event>"}'))
        case "integer":
            return st.integers(0, 500)
        case "number":
            return st.floats(0, 100)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return values
