"""The secrets of one locust master: who may use its web UI, and which workers it takes.

``rig ui`` and ``rig mix`` make them and hand them on by environment, so they are in no process list.
"""

from __future__ import annotations

import os
import secrets

WEB_TOKEN = "RIG_WEB_TOKEN"
"""The environment variable with the token of the web UI."""


def new_key() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(32)


def take_key(variable: str) -> str:
    """What the environment says, and take it out there: the target is a child of this process. Empty where nothing."""
    return os.environ.pop(variable, "")
