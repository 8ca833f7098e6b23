"""Defects that show when something breaks: a process, the database, or the way to either.

Those of the steps are here, those of the store in ``broken_stores``. ``HANGS_WITH_DATABASE`` is one of the
configuration, ``DROPS_AT_SIGTERM`` is switched on by the worker, ``TAKES_OTHERS_DOWN`` by the supervisor; ``UNINDEXED``
are defects of the schema as well.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import psycopg

from stub_server.service.config import Config
from stub_server.service.directory import Taxonomy
from stub_server.service.intake import Canonical, Dead, Decision, Delivery, Persist, Steps, WebhookOutcome
from stub_server.service.switches import ServiceDefect

UNINDEXED = (
    ServiceDefect.DEDUPLICATES_IN_MEMORY,
    ServiceDefect.LOOKS_BEFORE_INSERT,
    ServiceDefect.STORES_AGAIN_AT_RETRY,
)
"""With these no index keeps a key from having two rows. The last two have the function of ``schema`` look instead."""
OWN_RETRY = "retry-"
"""How the correlation id of a row begins that a retry has stored."""
_BURY_LATER_S = 2.0
_DROP_S, _SLOW_S = 0.3, 0.05
_HOURS_S = 7200.0


def hang_with_database(config: Config) -> Config:
    """The configuration without a limit to how long the database may take."""
    return config.model_copy(update={"database": config.database.model_copy(update={"answer_timeout_s": _HOURS_S})})


def drop_requests(steps: Steps, stop: asyncio.Event) -> Steps:
    """Steps that answer nothing once the process was told to stop; it ends a little later.

    They take so long that several requests are under way.
    """

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        await asyncio.sleep(_SLOW_S)
        if stop.is_set():
            await asyncio.sleep(_HOURS_S)
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


async def end_at_once() -> None:
    """End this process, whatever is under way."""
    await asyncio.sleep(_DROP_S)
    os._exit(0)


def _remember_keys(steps: Steps) -> Steps:
    """A process knows the keys that it has stored itself, until it ends."""
    seen: set[tuple[str, str]] = set()

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        if not isinstance(decision, Canonical):
            return await steps.persist(delivery, decision)
        key = (delivery.tenant_id, decision.idempotency_key)
        if key in seen:
            return WebhookOutcome.DUPLICATE
        seen.add(key)
        try:
            return await steps.persist(delivery, decision)
        except BaseException:
            seen.discard(key)
            raise

    return replace(steps, persist=persist)


async def _store_again(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """What the database did not confirm is stored once more, although it may have been stored."""
    try:
        return await store(delivery, decision)
    except psycopg.OperationalError:
        return await store(replace(delivery, correlation_id=f"{OWN_RETRY}{uuid.uuid4()}"), decision)


def store_later(kind: type[Canonical | Dead], outcome: WebhookOutcome, by_s: float) -> Callable[[Steps], Steps]:
    """What is decided so is answered at once, and stored a little later; all of it is in the end."""

    def inject(steps: Steps) -> Steps:
        under_way: set[asyncio.Task[WebhookOutcome]] = set()

        async def store(delivery: Delivery, decision: Decision) -> WebhookOutcome:
            await asyncio.sleep(by_s)
            return await steps.persist(delivery, decision)

        async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
            if not isinstance(decision, kind):
                return await steps.persist(delivery, decision)
            task = asyncio.create_task(store(delivery, decision))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            return outcome

        return replace(steps, persist=persist)

    return inject


async def _accept_unknown(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """What the database did not confirm is taken for stored."""
    try:
        return await store(delivery, decision)
    except psycopg.OperationalError:
        return WebhookOutcome.ACCEPTED


def change_storing(
    persist: Callable[[Persist, Delivery, Decision], Awaitable[WebhookOutcome]],
) -> Callable[[Steps], Steps]:
    """Steps that store as ``persist`` does, which gets the right way to store as its first argument."""
    return lambda steps: replace(steps, persist=partial(persist, steps.persist))


def change_decision(change: Callable[[Delivery, Decision], Decision]) -> Callable[[Steps], Steps]:
    """Steps whose decisions are changed before they are stored."""

    def inject(steps: Steps) -> Steps:
        def judge(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
            return change(delivery, steps.judge(delivery, taxonomy))

        return replace(steps, judge=judge)

    return inject


INJECTIONS: dict[ServiceDefect, Callable[[Steps], Steps]] = {
    ServiceDefect.DEDUPLICATES_IN_MEMORY: _remember_keys,
    ServiceDefect.STORES_AGAIN_AT_RETRY: change_storing(_store_again),
    ServiceDefect.DEAD_LETTERS_IN_MEMORY: store_later(Dead, WebhookOutcome.DEAD_LETTER, _BURY_LATER_S),
    ServiceDefect.ACCEPTS_UNKNOWN_COMMITS: change_storing(_accept_unknown),
}
