"""Which of these tests start locust itself: `make test-full` runs them, `make test` the rest."""

from __future__ import annotations

import pytest

_PROCESSES = frozenset({"test_browser", "test_ci", "test_contract", "test_crowd", "test_network", "test_worker"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "locust" and item.path.stem in _PROCESSES:
            item.add_marker("full")
