"""Defects of the service: each is a switch that makes it wrong in one way, so that a gate can be seen to fail.

Flow: the service is a few steps, above all ``judge`` (pure) and ``persist`` (one transaction). ``inject_defects(steps,
defects)`` wraps them; ``letting_in`` has the defects of those before and after the two, ``misshaping`` those that
only an unusual event shows. Without a defect it returns them as they are, so the normal path knows nothing of this
module. Deduplication, copies (``copying``), what comes later
(``spoiling``), isolation (``unsecuring``) and the row-lock convoy are defects of the schema, the two of the pool are
defects of the store: give the same ``--defect`` list to ``migrate`` and to ``serve``. The last seven make the service
slow and nothing else (``bottlenecks``).

Not for anything that a real service should do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from difflib import get_close_matches
from enum import StrEnum

from stub_server.service import echoing, failing, letting_in, misshaping
from stub_server.service.bottlenecks import call_slowly, compute_much, log_much, sleep_much
from stub_server.service.directory import Taxonomy
from stub_server.service.errors import ServiceUsageError
from stub_server.service.intake import Canonical, Dead, Decision, Delivery, Persist, Reason, Steps, WebhookOutcome

UNSTORED_ONE_IN = 500
SLOW_S = 0.004
EARLY_S, LONG_EARLY_S = 0.03, 0.3
"""So much sooner than its row an event is answered. The first is short: a rig that looks seldom would miss it."""

_ALIKE = 0.6
"""Names that share so much of their letters may have been meant."""
_ALL = "`rig help gates` lists defects by the gates that they turn red"

logger = logging.getLogger(__name__)


class ServiceDefect(StrEnum):
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
    PERSONAL_DATA_ENCODED = "personal-data-encoded"
    PERSONAL_KEY_RESPELT = "personal-key-respelt"
    PERSONAL_COLUMN_FILLED = "personal-column-filled"
    ALIAS_NOT_NORMALISED = "alias-not-normalised"
    SLOW = "slow"
    STORED_BUT_500 = "stored-but-500"
    ANSWERS_BEFORE_COMMIT = "answers-before-commit"
    ANSWERS_LONG_BEFORE_COMMIT = "answers-long-before-commit"
    COPY_OTHER_TENANT = "copy-other-tenant"
    COPY_UNKNOWN_TENANT = "copy-unknown-tenant"
    COPY_NO_TENANT = "copy-no-tenant"
    COPY_OTHER_KEY = "copy-other-key"
    DEAD_COPY_OTHER_TENANT = "dead-copy-other-tenant"
    CONTENT_OF_ANOTHER_EVENT = "content-of-another-event"
    AMOUNT_ZERO = "amount-zero"
    AMOUNT_OFF_BY_ONE = "amount-off-by-one"
    AMOUNT_FLOAT = "amount-float"
    AMOUNT_HUNDREDFOLD = "amount-hundredfold"
    CURRENCY_WRONG = "currency-wrong"
    TIME_1970 = "time-1970"
    TIME_OTHER_ZONE = "time-other-zone"
    TIME_DAYS = "time-days"
    TIME_HOUR_LOST = "time-hour-lost"
    EXTERNAL_ID_CHANGED = "external-id-changed"
    CHANNEL_WRONG = "channel-wrong"
    PAYLOAD_EMPTIED = "payload-emptied"
    PAYLOAD_TRUNCATED = "payload-truncated"
    PAYLOAD_KEYS_DROPPED = "payload-keys-dropped"
    PAYLOAD_NORMALISED = "payload-normalised"
    PAYLOAD_MANGLED = "payload-mangled"
    REPLAY_OVERWRITES = "replay-overwrites"
    DEAD_LETTER_EMPTIED = "dead-letter-emptied"
    ROWS_DELETED_LATER = "rows-deleted-later"
    PAYLOAD_OVERWRITTEN_LATER = "payload-overwritten-later"
    TENANT_CHANGED_LATER = "tenant-changed-later"
    SIGNATURE_UNCHECKED = "signature-unchecked"
    SIGNATURE_UNCHECKED_SOMETIMES = "signature-unchecked-sometimes"
    SIGNATURE_MAY_BE_EMPTY = "signature-may-be-empty"
    SIGNATURE_MAY_BE_MISSING = "signature-may-be-missing"
    SIGNATURE_NEVER_STALE = "signature-never-stale"
    SIGNATURE_OF_ANY_TENANT = "signature-of-any-tenant"
    SIGNATURE_OF_ANY_EVENT = "signature-of-any-event"
    SIGNATURE_WITHOUT_END = "signature-without-end"
    SIGNATURE_OVER_REWRITTEN_JSON = "signature-over-rewritten-json"
    FORGED_KEPT = "forged-kept"
    ANSWER_CONTRADICTS = "answer-contradicts"
    ANSWER_OTHER_CORRELATION = "answer-other-correlation"
    ROW_OTHER_CORRELATION = "row-other-correlation"
    ROW_SECURITY_OFF = "row-security-off"
    ROW_SECURITY_NOT_FORCED = "row-security-not-forced"
    OPEN_POLICY = "open-policy"
    ROLE_OWNS_TABLE = "role-owns-table"
    ROLE_BYPASSES = "role-bypasses"
    UNLOGGED_TABLE = "unlogged-table"
    PREFIX_DEDUPLICATION = "prefix-deduplication"
    CASE_DEDUPLICATION = "case-deduplication"
    LARGE_AMOUNTS_500 = "large-amounts-500"
    LARGE_AMOUNTS_ROUNDED = "large-amounts-rounded"
    EMOJI_FORGOTTEN = "emoji-forgotten"
    TEXT_COMPOSED = "text-composed"
    LONG_TEXT_CUT = "long-text-cut"
    PERSONAL_DATA_ECHOED = echoing.PERSONAL_DATA_ECHOED
    PERSONAL_DATA_ECHOED_SOMETIMES = echoing.PERSONAL_DATA_ECHOED_SOMETIMES
    PERSONAL_DATA_IN_METRICS = echoing.PERSONAL_DATA_IN_METRICS
    HANGS_WITH_DATABASE = failing.HANGS_WITH_DATABASE
    LEAVES_TRANSACTIONS = failing.LEAVES_TRANSACTIONS
    DROPS_AT_SIGTERM = failing.DROPS_AT_SIGTERM
    TAKES_OTHERS_DOWN = failing.TAKES_OTHERS_DOWN
    DEDUPLICATES_IN_MEMORY = failing.DEDUPLICATES_IN_MEMORY
    LOOKS_BEFORE_INSERT = failing.LOOKS_BEFORE_INSERT
    STORES_AGAIN_AT_RETRY = failing.STORES_AGAIN_AT_RETRY
    DEAD_LETTERS_IN_MEMORY = failing.DEAD_LETTERS_IN_MEMORY
    POOL_NEVER_RECOVERS = failing.POOL_NEVER_RECOVERS
    ACCEPTS_UNKNOWN_COMMITS = failing.ACCEPTS_UNKNOWN_COMMITS
    ROW_LOCK_CONVOY = "row-lock-convoy"
    POOL_OF_ONE = "pool-of-one"
    NO_POOL = "no-pool"
    LOG_AMPLIFICATION = "log-amplification"
    BUSY_LOOP = "busy-loop"
    SLEEPS = "sleeps"
    SLOW_DEPENDENCY = "slow-dependency"


def parse_defects(names: Iterable[str]) -> frozenset[ServiceDefect]:
    """The switches of those names; ServiceUsageError for another one, with those that are called alike."""
    names = tuple(names)
    for name in names:
        if name not in set(ServiceDefect):
            alike = get_close_matches(name, list(ServiceDefect), 3, _ALIKE)
            near = f"; alike are {', '.join(alike)}" if alike else ""
            raise ServiceUsageError(f"{name!r} is none of the {len(ServiceDefect)} defects{near}; {_ALL}")
    return frozenset(ServiceDefect(name) for name in names)


def inject_defects(steps: Steps, defects: Collection[ServiceDefect], process: int = 0) -> Steps:
    """The steps of a serving process with every given defect; only the first process has a busy loop."""
    for defect in sorted(defects):
        if defect in _INJECTIONS and (defect is not ServiceDefect.BUSY_LOOP or process == 0):
            steps = _INJECTIONS[defect](steps)
    return steps


def _change_decision(change: Callable[[Delivery, Decision], Decision]) -> Callable[[Steps], Steps]:
    """Steps whose decisions are changed before they are stored."""

    def inject(steps: Steps) -> Steps:
        def judge(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
            return change(delivery, steps.judge(delivery, taxonomy))

        return replace(steps, judge=judge)

    return inject


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


def _drop_dead_letters(
    reason: Reason, outcome: WebhookOutcome = WebhookOutcome.DEAD_LETTER
) -> Callable[[Steps], Steps]:
    """What is dead for that reason is answered, and leaves no dead letter."""

    async def persist(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
        if isinstance(decision, Dead) and decision.reason is reason:
            return outcome
        return await store(delivery, decision)

    return failing.change_storing(persist)


@_change_decision
def _keep_personal_data(delivery: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        return replace(decision, payload=json.dumps(json.loads(delivery.body)))
    return decision


@_change_decision
def _encode_personal_data(delivery: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        return replace(decision, payload=json.dumps({"raw": base64.b64encode(delivery.body).decode()}))
    return decision


@_change_decision
def _keep_personal_key(_: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        return replace(decision, payload=json.dumps({**json.loads(decision.payload), "customerEmail": "somebody"}))
    return decision


@_change_decision
def _log_personal_data(delivery: Delivery, decision: Decision) -> Decision:
    if isinstance(decision, Dead) and decision.reason is Reason.PERSONAL_DATA:
        logger.warning("personal data in %s", delivery.body.decode())
    return decision


@_change_decision
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


def _answer_early(by_s: float) -> Callable[[Steps], Steps]:
    """Valid events are answered at once and stored a little later; all of them are in the end."""

    def inject(steps: Steps) -> Steps:
        under_way: set[asyncio.Task[WebhookOutcome]] = set()

        async def store_later(delivery: Delivery, decision: Decision) -> WebhookOutcome:
            await asyncio.sleep(by_s)
            return await steps.persist(delivery, decision)

        async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
            if not isinstance(decision, Canonical):
                return await steps.persist(delivery, decision)
            task = asyncio.create_task(store_later(delivery, decision))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            return WebhookOutcome.ACCEPTED

        return replace(steps, persist=persist)

    return inject


_INJECTIONS: dict[ServiceDefect, Callable[[Steps], Steps]] = {
    ServiceDefect.ACK_WITHOUT_STORING: _forget_some,
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
    ServiceDefect.ANSWERS_BEFORE_COMMIT: _answer_early(EARLY_S),
    ServiceDefect.ANSWERS_LONG_BEFORE_COMMIT: _answer_early(LONG_EARLY_S),
    ServiceDefect.LOG_AMPLIFICATION: log_much,
    ServiceDefect.BUSY_LOOP: compute_much,
    ServiceDefect.SLEEPS: sleep_much,
    ServiceDefect.SLOW_DEPENDENCY: call_slowly,
    **{
        ServiceDefect(name): inject
        for name, inject in (letting_in.INJECTIONS | failing.INJECTIONS | misshaping.INJECTIONS).items()
    },
}
"""The defects of the steps. The others lie in the schema or in the store."""
