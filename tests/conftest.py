"""What tests of several parts share: a lifeline, one PostgreSQL for the session, a fresh database for each test."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from rig.machine.supervisor import Supervisor
from rig.target.postgres import Cluster, Database, open_cluster

# How long an example takes depends on who else is at work. What lands a change tries the same examples each time; at a
# developer's new ones are tried each time.
settings.register_profile("tests", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tests")

_WHOLE_RUNS = tuple(f"tests/{name}/" for name in ("cli", "faults", "foreign", "locust", "safety", "selftest"))
_JUDGE_NOTHING = tuple(
    f"tests/{name}.py"
    for name in ("cli/test_bad_input", "cli/test_fail_fast", "cli/test_help", "cli/test_init", "locust/test_inside")
)


@pytest.fixture(scope="session")
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as standing:
        yield standing


@pytest.fixture(scope="session")
def cluster(supervisor: Supervisor) -> Iterator[Cluster]:
    """Fast, not durable. Never of use for a judgement on commits.

    Nobody vacuums: what the statistics views count is the tests' alone.
    """
    with open_cluster(supervisor, environ=os.environ, durable=False, settings={"autovacuum": "off"}) as opened:
        yield opened


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    created = cluster.create_database("test")
    yield created
    cluster.drop_database(created)


def pytest_collection_finish() -> None:
    """The engine collects garbage before each run. What was imported and collected as tests needs no second look."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for a third of their time."""
    return (os.cpu_count() or 1) + 1


class Beside(LoadScopeScheduling):
    """Which tests may run at the same time: modules, each whole, so that its fixtures are made once.

    Whole runs of the rig come one after the other: their hygiene gates look at all processes of the machine.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        alone = module.startswith(_WHOLE_RUNS) and module not in _JUDGE_NOTHING
        return "whole runs" if alone else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Beside:
    return Beside(config, log)
