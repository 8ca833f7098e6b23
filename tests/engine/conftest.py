"""The bundled reference profile, read once."""

from __future__ import annotations

import pytest

from rig.profile import Profile, bundled_profile, load_profile


@pytest.fixture(scope="session")
def profile() -> Profile:
    return load_profile(bundled_profile()).for_stub()
