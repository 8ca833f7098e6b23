"""What tests of several parts share: a lifeline, one PostgreSQL for the session, a fresh database for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from rig.lifeline import Lifeline
from rig.postgres import Cluster, Database, open_cluster


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
