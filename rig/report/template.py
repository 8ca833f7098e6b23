"""HTML templates: one style, one content policy, nothing to load and nothing to run.

A pack may come from a stranger. Every value is escaped. The content policy names the style by its hash and forbids
scripts, frames, forms and everything that would be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rig.text import milliseconds, number, one_line, shorten, some, value_words


def render(template: str, **values: Any) -> str:
    """Render a template of ``templates/``; it gets ``style``, ``policy`` and the filters that make values words."""
    environment = Environment(
        loader=PackageLoader("rig.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, milliseconds=milliseconds, value=value_words, uri=uri)
    environment.filters.update(line=one_line, short=shorten, some=some)
    style = environment.get_template("report.css").render()
    return environment.get_template(template).render(style=style, policy=_policy(style), **values)


def uri(data: bytes) -> str:
    """A PNG inlined: as WebP without loss, which is a quarter smaller, where this build of Pillow can write it."""
    from PIL import Image, features

    kind = "png"
    if features.check("webp"):
        with Image.open(io.BytesIO(data)) as picture:
            picture.convert("RGB").save(into := io.BytesIO(), "WEBP", lossless=True)
        kind, data = "webp", into.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
