"""One database for all tests of truth: each test makes its own schema anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rig.profile import Profile
from rig.target.postgres import Cluster, Database
from tests.truth.world import World, open_world, profile


@pytest.fixture(scope="module")
def truth_database(cluster: Cluster) -> Iterator[Database]:
    created = cluster.create_database("truth")
    yield created
    cluster.drop_database(created)


@pytest.fixture
def make_world(truth_database: Database) -> Iterator[Callable[[Profile], World]]:
    worlds = []

    def make(described: Profile) -> World:
        worlds.append(world := open_world(truth_database, described))
        dead = described.truth.dead
        into_text = dead is not None and dead.match.startswith("payload") and dead.column == "raw"
        if into_text and world.connection.info.server_version < 160000:
            pytest.skip("a path into a text column needs PostgreSQL 16")
        return world

    yield make
    for world in worlds:
        world.connection.close()


@pytest.fixture
def world(make_world: Callable[[Profile], World]) -> World:
    return make_world(profile())
