"""Which of these tests are whole runs: `make test-full` runs them, `make test` the rest."""

from __future__ import annotations

import pytest

WITHIN_S = 400
"""A whole run on a machine with other things to do."""
_PROCESSES = frozenset({"test_browser", "test_locust_runs", "test_network"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "locust" and item.path.stem in _PROCESSES:
            item.add_marker("full")
            item.add_marker(pytest.mark.timeout(WITHIN_S))
