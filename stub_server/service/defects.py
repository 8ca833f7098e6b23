"""Defects of the service: each is a switch that makes it wrong in one way, so that a gate can be seen to fail.

Flow: the service is a few steps, above all ``judge`` (pure) and ``persist`` (one transaction). ``inject_defects(steps,
defects)`` wraps them; ``letting_in`` has the defects of those before and after the two, ``misshaping`` those that
only an unusual event shows. Without a defect it returns them as they are, so the normal path knows nothing of this
module. Deduplication by an index, copies (``copying``), what comes later (``spoiling``), isolation (``unsecuring``) and
the row-lock convoy are defects of the schema, the two of the pool are defects of the store: give the same ``--defect``
list to ``migrate`` and to ``serve``. The last seven make the service slow and nothing else (``bottlenecks``).

Not for anything that a real service should do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from stub_server.service import failing, letting_in, misshaping
from stub_server.service.bottlenecks import call_slowly, compute_much, log_much, sleep_much
from stub_server.service.intake import Canonical, Dead, Decision, Delivery, Persist, Reason, Steps, WebhookOutcome
from stub_server.service.switches import ServiceDefect

UNSTORED_ONE_IN = 500
SLOW_S = 0.004
EARLY_S, LONG_EARLY_S = 0.03, 0.3
"""So much sooner than its row an event is answered. The first is short: a rig that looks seldom would miss it."""

logger = logging.getLogger(__name__)


def inject_defects(steps: Steps, defects: Collection[ServiceDefect], process: int = 0) -> Steps:
    """The steps of a serving process with every given defect; only the first process has a busy loop."""
    for defect in sorted(defects):
        if defect in _INJECTIONS and (defect is not ServiceDefect.BUSY_LOOP or process == 0):
            steps = _INJECTIONS[defect](steps)
    return steps


def _forget_some(steps: Steps) -> Steps:
    """Every 500th valid event that this process sees is acknowledged and forgotten."""
    seen = 0

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        nonlocal seen
        if isinstance(decision, Canonical):
            seen += 1
            if seen % UNSTORED_ONE_IN == 0:
                return WebhookOutcome.ACCEPTED
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


def _look_among_all_tenants(steps: Steps) -> Steps:
    """A process looks whether it has stored the key for another tenant. Two at once both find none, and store it."""
    tenants: dict[str, str] = {}

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        if not isinstance(decision, Canonical):
            return await steps.persist(delivery, decision)
        if tenants.get(decision.idempotency_key, delivery.tenant_id) != delivery.tenant_id:
            return WebhookOutcome.DUPLICATE
        outcome = await steps.persist(delivery, decision)
        tenants[decision.idempotency_key] = delivery.tenant_id
        return outcome

    return replace(steps, persist=persist)


def _drop_dead_letters(
    reason: Reason, outcome: WebhookOutcome = WebhookOutcome.DEAD_LETTER
) -> Callable[[Steps], Steps]:
    """What is dead for that reason is answered, and leaves no dead letter."""

    async def persist(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
        if isinstance(decision, Dead) and decision.reason is reason:
            return outcome
        return await store(delivery, decision)

    return failing.change_storing(persist)


@failing.change_decision
def _keep_personal_data(delivery: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        return replace(decision, payload=json.dumps(json.loads(delivery.body)))
    return decision


@failing.change_decision
def _encode_personal_data(delivery: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        return replace(decision, payload=json.dumps({"raw": base64.b64encode(delivery.body).decode()}))
    return decision


@failing.change_decision
def _keep_personal_key(_: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        return replace(decision, payload=json.dumps({**json.loads(decision.payload), "customerEmail": "somebody"}))
    return decision


@failing.change_decision
def _log_personal_data(delivery: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        logger.warning("personal data in %s", delivery.body.decode())
    return decision


@failing.change_decision
def _keep_alias(_: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Canonical) and decision.event.source:
        return replace(decision, channel=decision.event.source)
    return decision


def _queue_requests(steps: Steps) -> Steps:
    """Requests of one process queue for a lock that each holds for 4 ms: this costs time but no CPU."""
    lock = asyncio.Lock()

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        async with lock:
            await asyncio.sleep(SLOW_S)
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


@failing.change_storing
async def _fail_after_storing(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """Everything is stored as it must be, and answered with an error; readiness does not show it."""
    await store(delivery, decision)
    return WebhookOutcome.ERROR


_INJECTIONS: dict[ServiceDefect, Callable[[Steps], Steps]] = {
    ServiceDefect.ACK_WITHOUT_STORING: _forget_some,
    ServiceDefect.LOOKS_AMONG_ALL_TENANTS: _look_among_all_tenants,
    ServiceDefect.MALFORMED_DROPPED: _drop_dead_letters(Reason.SCHEMA_INVALID),
    ServiceDefect.INVALID_JSON_500: _drop_dead_letters(Reason.INVALID_JSON, WebhookOutcome.ERROR),
    ServiceDefect.INVALID_JSON_DROPPED: _drop_dead_letters(Reason.INVALID_JSON),
    ServiceDefect.PERSONAL_DATA_DROPPED: _drop_dead_letters(Reason.PERSONAL_DATA),
    ServiceDefect.PERSONAL_DATA_KEPT: _keep_personal_data,
    ServiceDefect.PERSONAL_DATA_LOGGED: _log_personal_data,
    ServiceDefect.PERSONAL_DATA_ENCODED: _encode_personal_data,
    ServiceDefect.PERSONAL_KEY_RESPELT: _keep_personal_key,
    ServiceDefect.ALIAS_NOT_NORMALISED: _keep_alias,
    ServiceDefect.SLOW: _queue_requests,
    ServiceDefect.STORED_BUT_500: _fail_after_storing,
    ServiceDefect.ANSWERS_BEFORE_COMMIT: failing.store_later(Canonical, WebhookOutcome.ACCEPTED, EARLY_S),
    ServiceDefect.ANSWERS_LONG_BEFORE_COMMIT: failing.store_later(Canonical, WebhookOutcome.ACCEPTED, LONG_EARLY_S),
    ServiceDefect.LOG_AMPLIFICATION: log_much,
    ServiceDefect.BUSY_LOOP: compute_much,
    ServiceDefect.SLEEPS: sleep_much,
    ServiceDefect.SLOW_DEPENDENCY: call_slowly,
    **letting_in.INJECTIONS,
    **failing.INJECTIONS,
    **misshaping.INJECTIONS,
}
"""The defects of the steps. The others lie in the schema or in the store."""
