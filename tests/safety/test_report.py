"""Documents of a run in which every text is hostile: nothing of it runs, loads, or leaves its place.

Whoever writes a profile, answers a request or hands on a pack chooses texts that end in the report. Here each text of
a literal run is one that breaks careless pages, all of them at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from rig.diagnose import explain
from rig.evidence.gate import Verdict
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.report.documents import documents
from tests.evidence import synthetic
from tests.locust.browser import CHROMIUM, browser

PAYLOAD = (
    "</style></title></code></td></table></textarea><script>window.pwned=1</script>"
    "<img src=x onerror='window.pwned=2'><svg/onload=window.pwned=3><iframe srcdoc='<script>top.pwned=4</script>'>"
    "<a href=\"javascript:window.pwned=5\">x</a><meta http-equiv=refresh content='0;url=https://example.test/'>"
    "<base href=https://example.test/><form action=https://example.test/><link rel=stylesheet href=//example.test/x>"
    "\"' onmouseover=window.pwned=6 x='{{7*191}}${7*191}-->]]>\x00\x1b[31m\u202e"
)
LOGIC = ("outcome", "class", "error_kind")
"""Columns that are the rig's own words; a table with others would not be read at all."""
MAY_HOLD_URLS = (
    "src",
    "href",
    "action",
    "srcdoc",
    "data",
    "poster",
    "xlink:href",
    "formaction",
    "srcset",
    "background",
)


def poisoned(value: Any) -> Any:
    """The same with the payload before every text, and one more entry in every table."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return PAYLOAD + value
    if isinstance(value, pd.DataFrame):
        texts = [name for name in value if not pd.api.types.is_numeric_dtype(value[name]) and name not in LOGIC]
        return value.assign(**{name: PAYLOAD + value[name].astype(str) for name in texts})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: poisoned(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init
        }
        return dataclasses.replace(value, **changes)
    if isinstance(value, Mapping):
        return {**{name: poisoned(inner) for name, inner in value.items()}, PAYLOAD: PAYLOAD}
    if isinstance(value, tuple | list):
        return type(value)(poisoned(inner) for inner in value)
    return value


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """All documents of the poisoned run."""
    case = synthetic.case(ladder=False, sustained=False, bad=True)
    assert case.truth is not None
    key = Discrepancy(DiscrepancyKind.LOST, "scenario_run", "S8", "A", "key", "detail")
    case = dataclasses.replace(case, truth=dataclasses.replace(case.truth, discrepancies=(key,)), notes=("note",))
    manifest = synthetic.manifest(case)
    judgement, diagnosis = synthetic.judgement(bad=True), explain(case)
    assert diagnosis is not None
    judgement = dataclasses.replace(
        poisoned(judgement),
        gates=tuple(poisoned(gate) for gate in judgement.gates),
        diagnosis=dataclasses.replace(
            poisoned(diagnosis),
            hypotheses=tuple(dataclasses.replace(poisoned(each), outcome="refuted") for each in diagnosis.hypotheses),
            in_flight={PAYLOAD: 1.0},
        ),
    )
    return documents(poisoned(manifest), dataclasses.replace(poisoned(case), verb="run"), judgement)


@pytest.fixture(scope="module")
def page(made: dict[str, bytes]) -> str:
    return made["report.html"].decode()


def _body(elements: list[tuple[str, dict[str, str]]]) -> int:
    return next(at for at, (tag, _) in enumerate(elements) if tag == "body")


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def test_the_payload_did_get_there(page: str) -> None:
    """Else nothing is shown by its harmlessness."""
    assert page.count("&lt;script&gt;window.pwned=1&lt;/script&gt;") > 10


def test_no_element_runs_or_loads_anything(page: str) -> None:
    elements = Elements(page).found
    assert len(elements) > 100
    forbidden = {"script", "iframe", "object", "embed", "form", "base", "link", "button", "frame"}
    of_svg = {"foreignobject", "use", "image", "animate", "set", "style", "math"}
    assert not {tag for tag, _ in elements} & forbidden
    assert not {tag for tag, _ in elements[_body(elements) :]} & of_svg
    # A plot is bars with their words. A box that is ticked makes a picture larger, and is sent nowhere.
    assert {tag: set(a) for tag, a in elements if tag in ("svg", "input")}.items() <= {
        "svg": {"viewbox", "role", "font-size"},
        "input": {"type"},
    }.items()
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in MAY_HOLD_URLS:
            assert attributes.get(name, "data:image/webp;").startswith(("data:image/webp;", "#")), (tag, attributes)
        if tag == "meta":
            assert attributes.get("http-equiv", "").lower() in ("", "content-security-policy")


def test_the_policy_forbids_the_rest(page: str) -> None:
    """What a slip of the template would let through is forbidden by the page itself, before anything of it is read."""
    (policy,) = [a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert "unsafe" not in policy
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert re.fullmatch(r"'sha256-[\w+/=]+'", rules["style-src"])
    assert set(rules) == {"base-uri", "form-action", "img-src", "style-src"}
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<body>")


def test_nothing_speaks_to_a_terminal_or_breaks_the_xml(made: dict[str, bytes]) -> None:
    for name in ("report.html", "summary.md", "junit.xml"):
        text = made[name].decode()
        assert not set(text) & {"\x00", "\x1b", "\u202e"}, name
    assert len(list(ET.fromstring(made["junit.xml"]).iter("testcase"))) > 3


def test_markdown_holds_no_markup(made: dict[str, bytes]) -> None:
    """CommonMark takes an unescaped ``<`` for HTML; outside of code there may be none."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", made["summary.md"].decode(), flags=re.S)
    assert not re.findall(r"(?<!\\)<[a-z/!]", prose)


def test_no_document_has_a_hostile_name(made: dict[str, bytes]) -> None:
    assert all(re.fullmatch(r"(plots/)?[\w-]+\.[a-z]+", name) for name in made)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_a_browser_runs_nothing_of_it(page: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page)
    async with browser() as opened:
        await opened.open(file.as_uri())
        await opened.until("document.readyState === 'complete' && document.querySelector('h1') && 1")
        assert await opened.evaluate("String(window.pwned)") == "undefined"
        assert (
            await opened.evaluate("document.scripts.length + document.querySelectorAll('iframe,form,base').length") == 0
        )
        assert (
            await opened.evaluate(
                "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
            )
            == 0
        )
        assert await opened.evaluate("location.href") == file.as_uri()
        # And should a slip let an element through: the policy stops it.
        await opened.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=9\">')")
        await opened.evaluate("new Promise(done => setTimeout(done, 200))")
        assert await opened.evaluate("String(window.pwned)") == "undefined"


def test_every_verdict_is_among_the_literals() -> None:
    """So that no branch of the template stays unseen."""
    assert {gate.verdict for gate in synthetic.judgement(bad=True).gates} >= {
        Verdict.FAIL,
        Verdict.INVALID,
        Verdict.PASS,
    }
