"""``docs/profile.md``, made from the profile's own schema: ``python -m rig.profile.reference`` prints it.

A test holds the file against the schema, so that no key goes undocumented.
"""

from __future__ import annotations

import inspect
import types
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
from pydantic.fields import FieldInfo

from rig.profile import Profile
from rig.profile.fields import Section

_INTRODUCTION = """# Profile reference

A profile tells the rig who the target is. It is a TOML file that is validated before anything starts. An error names
the key that is unknown, missing or wrong. `scenarios/profiles/reference.toml` is a whole example to copy. A profile
never contains secrets: keys that end in `_env` name the environment variable that holds one.

This page is made from the schema by `python -m rig.profile.reference > docs/profile.md`.
"""


def reference() -> str:
    """The page as Markdown."""
    sections: list[str] = [_INTRODUCTION.rstrip()]
    seen: set[type[Section]] = set()
    pending: list[tuple[str, type[Section]]] = [("", Profile)]
    while pending:
        path, model = pending.pop(0)
        if model in seen:
            continue
        seen.add(model)
        sections.append(_section(path, model))
        for name, field in model.model_fields.items():
            for inner, many in _models(field.annotation):
                pending.append((f"{path}.{field.alias or name}".lstrip(".") + many, inner))
        if model.model_config.get("extra") == "allow":  # tables that the profile names itself
            pending += [(path + many, inner) for inner, many in _models(get_type_hints(model)["__pydantic_extra__"])]
    return "\n\n".join(sections) + "\n"


def _section(path: str, model: type[Section]) -> str:
    title = f"## `{_heading(path)}`" if path else "## Top level"
    about = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    rows = ["| key | what it is | default |", "|---|---|---|"]
    old_names = {new: old for old, new in model.old_names().items()}
    for field_name, field in model.model_fields.items():
        key = field.alias or field_name
        old = f" Old name, still accepted: `{old_names[key]}`." if key in old_names else ""
        rows.append(f"| `{key}` | {_about(field)}{old} | {_default(field)} |")
    return "\n\n".join([title, about, "\n".join(rows)])


def _heading(path: str) -> str:
    name = path.replace("[]", "")
    return f"[[{name}]]" if path.endswith("[]") else f"[{name}]"


def _about(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split()).replace("``", "`")
    kind = _kind(field.annotation)
    return (f"{kind}. {text}" if text else kind).replace("|", "\\|")


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), [part for part in get_args(annotation) if part is not types.NoneType]
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "table"
    if origin is Annotated:
        return _kind(inner[0])
    if origin is tuple:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"table of {_kind(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return "one of " + ", ".join(f"`{part}`" for part in annotation)
    if origin in (types.UnionType, Union, None):
        inner = [part for part in inner if get_args(part) != ("",)]  # "empty" is said by the default
        if len(inner) == 1:
            return _kind(inner[0])
        if any(_models(part) for part in inner):
            return " or ".join(_kind(part).removeprefix("always ") for part in inner)
    if origin is Literal and len(inner) == 1:
        return f"always `{inner[0]}`"
    if inner and all(isinstance(part, str | int) for part in inner):
        return "one of " + ", ".join(f"`{part}`" for part in inner)
    names = {"str": "text", "int": "whole number", "float": "number", "Path": "path", "bool": "true or false"}
    return names.get(getattr(annotation, "__name__", ""), "anything")


def _models(annotation: Any) -> list[tuple[type[Section], str]]:
    """The tables inside a type, each with the end of its heading: ``[]`` in a list, ``.NAME`` in a table of tables."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [(annotation, "")]
    endings: dict[Any, str] = {tuple: "[]", dict: ".NAME"}
    many = endings.get(get_origin(annotation), "")
    return [(model, many or inner) for part in get_args(annotation) for model, inner in _models(part)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Section) or value in ({}, (), None, ""):
        return "none" if value is None else "empty"
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value)
    return f"`{value}`"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
