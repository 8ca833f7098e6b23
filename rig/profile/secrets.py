"""Secrets come from the environment, and only the names of its variables stand in a profile."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rig.errors import ConfigError


def secret_from(environ: Mapping[str, str], variable: str, purpose: str) -> str:
    """The value of an environment variable that must be set; ConfigError says what it is for."""
    value = environ.get(variable)
    if not value:
        raise ConfigError(f"environment variable {variable} is not set; it must hold {purpose}")
    return value


def environment() -> Mapping[str, str]:
    """The process environment: the one place that this package takes secrets from."""
    return os.environ
