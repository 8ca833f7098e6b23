"""What the database must hold, derived from the scenarios and from how each request ended. Pure.

Flow: ``SentRequests`` (the scenarios, and the outcome of each request) → ``expectations`` → rows for
``rig.truth.reconcile``; ``RequestIndex`` finds the request that a key, a correlation id or a canary belongs to.
Nothing need be stored during a run: everything follows from the seed. Not for reading the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rig.model import RequestClass, Row, Scenario, Tenant
from rig.requests.content import ContentPlan
from rig.requests.targeter import Targeter


@dataclass(frozen=True, slots=True, eq=False)
class RunOutcomes:
    """One scenario run and how its requests ended: ``codes[seq]`` is an ``Outcome.code``; shape ``(count,)``.

    ``attempts``: how many attempts of each may have reached the target; None where there was one at most.
    """

    scenario: Scenario
    codes: NDArray[np.uint8]
    attempts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.codes.shape != (self.scenario.count,):
            raise ValueError(
                f"{self.scenario.label}: codes have shape {self.codes.shape}, not ({self.scenario.count},)"
            )


@dataclass(frozen=True, slots=True)
class SentRequests:
    """All requests of a run, how they ended, and the tenants that they were sent to."""

    targeter: Targeter
    scenario_runs: Sequence[RunOutcomes]
    tenants: Sequence[Tenant]

    @property
    def scenarios(self) -> list[Scenario]:
        """What was sent, without how it ended."""
        return [outcomes.scenario for outcomes in self.scenario_runs]


class Expectation(NamedTuple):
    """What one request promises. ``scenario_run`` and ``tenant`` are indexes into those of ``SentRequests``."""

    scenario_run: int
    tenant: int
    key: str
    correlation: str
    row: Row
    outcome: int
    """``Outcome.code``."""
    channel: str | None
    forgery: str | None = None
    """What is wrong with it, where it is forged."""
    form: int | None = None
    """What the row must hold (``rig.requests.content``); None where that is not compared."""
    attempts: int = 1
    """How many attempts may each have left a dead letter; 1 of a request that was not sent, too."""


def expectations(sent: SentRequests, plan: ContentPlan | None = None) -> Iterator[Expectation]:
    """One expectation per event of all scenario runs; KeyError for an event of a tenant that is not among these."""
    numbers = {tenant.name: number for number, tenant in enumerate(sent.tenants)}
    for scenario_run, outcomes in enumerate(sent.scenario_runs):
        targets = sent.targeter.bind(outcomes.scenario)
        route = sent.targeter.profile.route(outcomes.scenario.route)
        attempts = repeat(1) if outcomes.attempts is None else np.maximum(outcomes.attempts, 1).tolist()
        for seq, (outcome, tries) in enumerate(zip(outcomes.codes.tolist(), attempts, strict=False)):
            share = targets.share(seq)
            forgery, form = share.forgery, None
            for tenant, key, correlation, row, channel, kind in targets.expect_all(seq):
                if plan is not None and forgery is None:
                    form = plan.form(route, kind, targets.place(seq)[1], share.source, tenant)
                number = numbers[tenant]
                yield Expectation(scenario_run, number, key, correlation, row, outcome, channel, forgery, form, tries)


def identities(targeter: Targeter, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str]]:
    """Key and correlation id of every event of some scenarios, whatever becomes of it."""
    for scenario in scenarios:
        targets = targeter.bind(scenario)
        for seq in range(scenario.count):
            for expected in targets.expect_all(seq):
                yield expected.key, expected.correlation


class RequestIndex:
    """Finds the request of a value in the database or in a log. It is built when it is first used."""

    def __init__(self, targeter: Targeter, scenarios: Sequence[Scenario]) -> None:
        self._targeter = targeter
        self._scenarios = scenarios

    def by_canary(self, token: str) -> str | None:
        """The request that carried a canary token (any of its shapes); None if it is not of this run."""
        return self._by_canary.get(token)

    @property
    def has_canaries(self) -> bool:
        """Whether any request carried personal data."""
        return any(scenario.sends_personal_data for scenario in self._scenarios)

    @property
    def identities(self) -> list[str]:
        """All keys and correlation ids."""
        return list(self._by_identity)

    def by_identity(self, identity: str) -> str | None:
        """The first request with this key or correlation id; None if it is not of this run."""
        return self._by_identity.get(identity)

    @cached_property
    def _by_canary(self) -> dict[str, str]:
        found = {}
        for scenario in self._scenarios:
            targets = self._targeter.bind(scenario)
            for seq in range(scenario.count):
                if targets.share(seq).request_class is RequestClass.PERSONAL:
                    request = _describe(scenario, seq, targets.expect(seq).tenant)
                    found.update(dict.fromkeys(targets.canary(seq).tokens, request))
        return found

    @cached_property
    def _by_identity(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for scenario in self._scenarios:
            targets = self._targeter.bind(scenario)
            for seq in range(scenario.count):
                for expected in targets.expect_all(seq):
                    request = _describe(scenario, seq, expected.tenant)
                    found.setdefault(expected.key, request)
                    found[expected.correlation] = request
        return found


def _describe(scenario: Scenario, seq: int, tenant: str) -> str:
    return f"{scenario.label} request {seq} of tenant {tenant}"
