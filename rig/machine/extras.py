"""Optional dependencies: whether one is installed, and how to install it."""

from __future__ import annotations

from importlib.util import find_spec

from rig.errors import UsageError


def missing(module: str, extra: str) -> str:
    """A message that ``module`` is missing, with the remedy; empty where it is installed."""
    if find_spec(module) is not None:
        return ""
    return (
        f"{module} is not installed: it comes with the extra `{extra}`; in a clone of the rig: "
        f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
    )


def require(module: str, extra: str) -> None:
    """UsageError where ``module`` is not installed."""
    if why := missing(module, extra):
        raise UsageError(why)
