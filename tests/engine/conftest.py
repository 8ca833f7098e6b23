"""The bundled reference profile, read once."""

from __future__ import annotations

import pytest

import rig.engine.connection
from rig.engine.pacer import NS
from rig.profile import Profile, bundled_profile, load_profile


@pytest.fixture(scope="session")
def profile() -> Profile:
    return load_profile(bundled_profile()).for_stub()


@pytest.fixture
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may stand still for a second on a busy machine. That makes no connection of it a stale one."""
    monkeypatch.setattr(rig.engine.connection, "STALE_AFTER_NS", 3600 * NS)
