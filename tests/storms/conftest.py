"""What a storm of the reference needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rig.machine.supervisor import Supervisor
from rig.profile import bundled_profile, load_profile
from rig.storms.environment import StormEnvironment
from rig.target.postgres import Cluster


@pytest.fixture
def environment(supervisor: Supervisor, cluster: Cluster, tmp_path: Path) -> StormEnvironment:
    path = bundled_profile()
    return StormEnvironment(cluster, load_profile(path), path.parent, dict(os.environ), tmp_path)
