"""Seeded defects: each is one switch that makes the service wrong in one way, so that a gate can be seen to fail.

Flow: the service is two steps, ``judge`` (pure) and ``persist`` (one transaction). ``spoiled(steps, defects)``
wraps them; without a defect it gives them back untouched, so the normal path knows nothing of this module. The two
defects of deduplication and the convoy are the schema's: give the same ``--defect`` list to ``migrate`` and to
``serve``. The last five are slow and nothing else: see ``bottlenecks``.

Not for anything that a real service should do.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from enum import StrEnum

from stub_server.service.bottlenecks import busy, chatty
from stub_server.service.channels import Taxonomy
from stub_server.service.errors import UsageError
from stub_server.service.intake import Canonical, Dead, Decision, Delivery, Reason
from stub_server.service.steps import Outcome, Steps

UNSTORED_ONE_IN = 500
SLOW_S = 0.004

logger = logging.getLogger(__name__)


class Defect(StrEnum):
    """The switches, by the names of the command line."""

    ACK_WITHOUT_STORING = "ack-without-storing"
    NO_DEDUPLICATION = "no-deduplication"
    GLOBAL_DEDUPLICATION = "global-deduplication"
    MALFORMED_DROPPED = "malformed-dropped"
    INVALID_JSON_500 = "invalid-json-500"
    INVALID_JSON_DROPPED = "invalid-json-dropped"
    PERSONAL_DATA_DROPPED = "personal-data-dropped"
    PERSONAL_DATA_KEPT = "personal-data-kept"
    PERSONAL_DATA_LOGGED = "personal-data-logged"
    ALIAS_NOT_NORMALISED = "alias-not-normalised"
    SLOW = "slow"
    STORED_BUT_500 = "stored-but-500"
    ROW_LOCK_CONVOY = "row-lock-convoy"
    POOL_OF_ONE = "pool-of-one"
    NO_POOL = "no-pool"
    LOG_AMPLIFICATION = "log-amplification"
    BUSY_LOOP = "busy-loop"


def parse_defects(names: Iterable[str]) -> frozenset[Defect]:
    """The switches of those names; UsageError names the known ones."""
    try:
        return frozenset(Defect(name) for name in names)
    except ValueError as error:
        raise UsageError(f"{error}; known defects: {', '.join(Defect)}") from None


def spoiled(steps: Steps, defects: Collection[Defect], process: int = 0) -> Steps:
    """The steps of a serving process with every given defect built in; only the first process has a busy loop."""
    for defect in sorted(defects):
        if defect is not Defect.BUSY_LOOP or process == 0:
            steps = _SPOILERS[defect](steps)
    return steps


def _unchanged(steps: Steps) -> Steps:
    return steps  # the defect lives in the schema or in the store


def _ack_without_storing(steps: Steps) -> Steps:
    """Of the valid events that this process sees, every 500th is acknowledged and forgotten."""
    seen = 0

    async def persist(delivery: Delivery, decision: Decision) -> Outcome:
        nonlocal seen
        if isinstance(decision, Canonical):
            seen += 1
            if seen % UNSTORED_ONE_IN == 0:
                return Outcome.ACCEPTED
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


def _dropped(reason: Reason) -> Callable[[Steps], Steps]:
    """What is dead for that reason is acknowledged, and leaves no dead letter."""

    def spoil(steps: Steps) -> Steps:
        async def persist(delivery: Delivery, decision: Decision) -> Outcome:
            if isinstance(decision, Dead) and decision.reason is reason:
                return Outcome.DEAD_LETTER
            return await steps.persist(delivery, decision)

        return replace(steps, persist=persist)

    return spoil


def _invalid_json_500(steps: Steps) -> Steps:
    async def persist(delivery: Delivery, decision: Decision) -> Outcome:
        if isinstance(decision, Dead) and decision.reason is Reason.INVALID_JSON:
            return Outcome.ERROR
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


def _personal_data_kept(steps: Steps) -> Steps:
    def judge(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
        decision = steps.judge(delivery, taxonomy)
        if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
            return replace(decision, payload=json.dumps(json.loads(delivery.body)))
        return decision

    return replace(steps, judge=judge)


def _personal_data_logged(steps: Steps) -> Steps:
    def judge(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
        decision = steps.judge(delivery, taxonomy)
        if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
            logger.warning("personal data in %s", delivery.body.decode())
        return decision

    return replace(steps, judge=judge)


def _alias_not_normalised(steps: Steps) -> Steps:
    def judge(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
        decision = steps.judge(delivery, taxonomy)
        if isinstance(decision, Canonical) and decision.event.source:
            return replace(decision, channel=decision.event.source)
        return decision

    return replace(steps, judge=judge)


def _slow(steps: Steps) -> Steps:
    """Requests of one process queue for a lock that each holds for 4 ms: CPU stays idle, time does not."""
    lock = asyncio.Lock()

    async def persist(delivery: Delivery, decision: Decision) -> Outcome:
        async with lock:
            await asyncio.sleep(SLOW_S)
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


def _stored_but_500(steps: Steps) -> Steps:
    """Everything is stored as it must be, and answered with an error; readiness knows nothing of it."""

    async def persist(delivery: Delivery, decision: Decision) -> Outcome:
        await steps.persist(delivery, decision)
        return Outcome.ERROR

    return replace(steps, persist=persist)


_SPOILERS: dict[Defect, Callable[[Steps], Steps]] = {
    Defect.ACK_WITHOUT_STORING: _ack_without_storing,
    Defect.NO_DEDUPLICATION: _unchanged,
    Defect.GLOBAL_DEDUPLICATION: _unchanged,
    Defect.MALFORMED_DROPPED: _dropped(Reason.SCHEMA_INVALID),
    Defect.INVALID_JSON_500: _invalid_json_500,
    Defect.INVALID_JSON_DROPPED: _dropped(Reason.INVALID_JSON),
    Defect.PERSONAL_DATA_DROPPED: _dropped(Reason.PERSONAL_DATA),
    Defect.PERSONAL_DATA_KEPT: _personal_data_kept,
    Defect.PERSONAL_DATA_LOGGED: _personal_data_logged,
    Defect.ALIAS_NOT_NORMALISED: _alias_not_normalised,
    Defect.SLOW: _slow,
    Defect.STORED_BUT_500: _stored_but_500,
    Defect.ROW_LOCK_CONVOY: _unchanged,
    Defect.POOL_OF_ONE: _unchanged,
    Defect.NO_POOL: _unchanged,
    Defect.LOG_AMPLIFICATION: chatty,
    Defect.BUSY_LOOP: busy,
}
