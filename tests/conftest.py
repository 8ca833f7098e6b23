"""What tests of several parts share: a lifeline, one PostgreSQL for the session, a fresh database for each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from rig.lifeline import Lifeline
from rig.postgres import Cluster, Database, open_cluster

_COMMANDS = "tests.cli.commands"


@pytest.fixture(scope="session")
def lifeline() -> Iterator[Lifeline]:
    with Lifeline() as standing:
        yield standing


@pytest.fixture(scope="session")
def cluster(lifeline: Lifeline) -> Iterator[Cluster]:
    """Fast, not durable. Never of use for a judgement on commits."""
    with open_cluster(lifeline, environ=os.environ, durable=False) as opened:
        yield opened


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    created = cluster.create_database("test")
    yield created
    cluster.drop_database(created)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module stays together, so that its fixtures are made once. What starts the command line stays together too, and
    out of each other's way: its hygiene gates look at the whole machine."""
    for item in items:
        module = sys.modules[item.function.__module__] if isinstance(item, pytest.Function) else None
        starts = module and any(getattr(value, "__module__", "") == _COMMANDS for value in vars(module).values())
        item.add_marker(pytest.mark.xdist_group(_COMMANDS if starts else str(item.path)))
