"""Databases and services for these tests, on the cluster that ``tests/conftest.py`` starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig.target.postgres import Cluster
from stub_server.service.config import Config
from stub_server.service.schema import migrate
from stub_server.service.switches import ServiceDefect
from tests.service.running import RunningService, ServiceDatabase, running_service

MakeDatabase = Callable[..., ServiceDatabase]


@pytest.fixture(scope="session")
def make_database(cluster: Cluster) -> Iterator[MakeDatabase]:
    """Makes migrated databases with tenants A and B; all are dropped at the end."""
    with ExitStack() as made:

        def make(name: str, config: Config | None = None, defects: tuple[ServiceDefect, ...] = ()) -> ServiceDatabase:
            database = cluster.create_database(f"service_{name}")
            made.callback(cluster.drop_database, database)
            config = config or Config()
            migrate(config, database.admin_dsn, database.runtime_dsn, defects)
            one = ServiceDatabase(database.admin_dsn, database.runtime_dsn, config)
            one.add_tenants()
            return one

        yield make


@pytest.fixture(scope="session")
def service_database(make_database: MakeDatabase) -> ServiceDatabase:
    """The database of the service that most tests share; they count what they add."""
    return make_database("shared")


@pytest.fixture(scope="session")
def service(service_database: ServiceDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The sound service in two processes."""
    log_file: Path = tmp_path_factory.mktemp("service") / "log"
    with running_service(service_database, log_file, processes=2) as one:
        yield one
