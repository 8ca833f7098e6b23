"""How hard fuzzing tries: the same few hundred examples in `make test`, fresh and many more in `make test-full`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

_COMMON: dict[str, Any] = {
    "phases": (Phase.explicit, Phase.generate),  # shrinking a whole pack takes minutes and says little more
    "deadline": None,
    "database": None,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
}


def few(examples: int) -> settings:
    """A bounded look that finds the same every time."""
    return settings(max_examples=examples, derandomize=True, **_COMMON)


def many(examples: int) -> Callable[[Any], Any]:
    """A long look for what the bounded one misses, new with every run; what it finds is printed, to be kept."""

    def marked(test: Any) -> Any:
        return pytest.mark.full(pytest.mark.timeout(900)(settings(max_examples=examples, **_COMMON)(test)))

    return marked
