"""Defects of the service that only an unusual event shows: a large amount, a decomposed letter, a long text, an emoji.

Not for anything that a real service should do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from stub_server.service.failing import change_decision, change_storing
from stub_server.service.intake import Canonical, Decision, Delivery, Persist, Steps, WebhookOutcome
from stub_server.service.switches import ServiceDefect

AMOUNT_TOO_LARGE = 2**31
TEXT_MOST = 1_000
_LONG = re.compile(rf'("[^"\\]{{{TEXT_MOST}}})[^"\\]+"')


@change_storing
async def _fail_at_large_amounts(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """As a column of 32 bits does."""
    if isinstance(decision, Canonical) and decision.event.amount_minor >= AMOUNT_TOO_LARGE:
        return WebhookOutcome.ERROR
    return await store(delivery, decision)


@change_storing
async def _forget_emoji(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """An event with a character beyond 16 bits is answered, and not stored."""
    if isinstance(decision, Canonical) and any(letter > "\uffff" for letter in decision.payload):
        return WebhookOutcome.ACCEPTED
    return await store(delivery, decision)


def _change_payload(change: Callable[[str], str]) -> Callable[[Steps], Steps]:
    """Steps that store another payload."""

    def changed(_: Delivery, decision: Decision) -> Decision:
        return replace(decision, payload=change(decision.payload)) if isinstance(decision, Canonical) else decision

    return change_decision(changed)


INJECTIONS: dict[ServiceDefect, Callable[[Steps], Steps]] = {
    ServiceDefect.LARGE_AMOUNTS_500: _fail_at_large_amounts,
    ServiceDefect.EMOJI_FORGOTTEN: _forget_emoji,
    ServiceDefect.TEXT_COMPOSED: _change_payload(lambda payload: unicodedata.normalize("NFC", payload)),
    ServiceDefect.LONG_TEXT_CUT: _change_payload(lambda payload: _LONG.sub(r'\1"', payload)),
}
