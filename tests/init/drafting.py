"""Drafting a profile from answers, without a terminal and without a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rig.init.draft import FROM_EVENT, draft, event_default
from rig.init.found import Found
from rig.init.pasted import Pasted
from rig.init.questions import QUESTIONS, Answers, Question, ask_all
from rig.profile import Profile
from rig.profile.load import parse_profile
from rig.requests.body import SLOTS, compile_bodies
from rig.requests.template import NUMBERS

GIVEN = {"key": "3f1c", "event": "e1", "decimal": "0.99", "iso": "2027-02-02T00:00:00Z", "correlation": "c1"}
NUMBER = 7


def drafted(pasted: Pasted | None = None, found: Found | None = None, **given: str) -> Profile:
    """The profile that follows from these answers (underscores for dashes) and the defaults of all others."""
    options = {name.replace("_", "-"): answer for name, answer in given.items()}
    assert options.keys() <= {question.name for question in QUESTIONS}
    known = {**(pasted.answers | {"sender": pasted.sender} if pasted else {}), **options}

    def ask(question: Question, answers: Answers) -> str:
        if question.name in known or question.name not in FROM_EVENT:
            return known.get(question.name, question.default_after(answers))
        return event_default(question.name, answers, pasted or Pasted())

    return parse_profile(draft(ask_all(ask), Path("rig.toml"), pasted, found), Path("rig.toml"))


def rendered(profile: Profile) -> bytes:
    """The body of the first route, with the values of ``GIVEN``."""
    values = [GIVEN.get(slot, "").encode() if slot not in NUMBERS else NUMBER for slot in SLOTS]
    return compile_bodies(profile.routes[0]).valid.render(values)


def rendered_json(profile: Profile) -> Any:
    """The same, read as JSON."""
    return json.loads(rendered(profile).decode(errors="surrogatepass"))
