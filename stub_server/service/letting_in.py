"""Defects of the service about who it lets in, and about what it answers: each wraps one step of a request.

Not for anything that a real service should do.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from stub_server.service.failing import change_storing
from stub_server.service.intake import (
    Dead,
    Decision,
    Delivery,
    Persist,
    Reason,
    SignedRequest,
    Steps,
    WebhookOutcome,
    digest_only,
)
from stub_server.service.switches import ServiceDefect

_UNCHECKED_ONE_IN = 1000
_CONTRADICTED_ONE_IN = 100
_FOREVER_S = float("inf")
_ESCAPE = re.compile(rb"\\u[0-9a-fA-F]{4}")


def _let_in_where(is_let_in: Callable[[SignedRequest], bool]) -> Callable[[Steps], Steps]:
    """Steps that let in what ``is_let_in`` says, beside what is right."""
    return lambda steps: replace(steps, admit=lambda request: is_let_in(request) or steps.admit(request))


def _let_in_changed(change: Callable[[SignedRequest], SignedRequest]) -> Callable[[Steps], Steps]:
    """Steps that check another request than the one that is made."""
    return lambda steps: replace(steps, admit=lambda request: steps.admit(change(request)))


def _check_most(steps: Steps) -> Steps:
    """One signature in a thousand is not checked."""
    numbers = count(1)
    return replace(steps, admit=lambda request: next(numbers) % _UNCHECKED_ONE_IN == 0 or steps.admit(request))


def _try_all_secrets(steps: Steps) -> Steps:
    """The secret of any tenant that was seen will do."""
    known: dict[str, SignedRequest] = {}

    def admit(request: SignedRequest) -> bool:
        known.setdefault(request.tenant.tenant_id, request)
        return any(steps.admit(replace(request, tenant=each.tenant)) for each in known.values())

    return replace(steps, admit=admit)


def _remember_signatures(steps: Steps) -> Steps:
    """A signature that was right once is right for every body."""
    good: set[str] = set()

    def admit(request: SignedRequest) -> bool:
        if request.signature in good:
            return True
        if is_good := steps.admit(request):
            good.add(request.signature or "")
        return is_good

    return replace(steps, admit=admit)


def _keep_refused(steps: Steps) -> Steps:
    """What is refused is kept as a dead letter."""

    async def refuse(delivery: Delivery) -> None:
        await steps.persist(delivery, Dead(Reason.SCHEMA_INVALID, None, digest_only(delivery.body)))

    return replace(steps, refuse=refuse)


def _contradict(steps: Steps) -> Steps:
    """One accepted event in a hundred is stored, and told that it failed."""
    numbers = count(1)

    def reply(outcome: WebhookOutcome, correlation_id: str) -> tuple[WebhookOutcome, str]:
        wrong = outcome is WebhookOutcome.ACCEPTED and next(numbers) % _CONTRADICTED_ONE_IN == 0
        return WebhookOutcome.ERROR if wrong else outcome, correlation_id

    return replace(steps, reply=reply)


def _answer_another_id(steps: Steps) -> Steps:
    """The correlation id of an answer is made up."""
    return replace(steps, reply=lambda outcome, _: (outcome, str(uuid.uuid4())))


@change_storing
async def _store_another_id(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """The correlation id of an accepted event's row is made up."""
    if not isinstance(decision, Dead):
        delivery = replace(delivery, correlation_id=str(uuid.uuid4()))
    return await store(delivery, decision)


def _without_end(request: SignedRequest) -> SignedRequest:
    return replace(request, body=request.body.rstrip())


def _without_escapes(request: SignedRequest) -> SignedRequest:
    """As a service that reads the JSON, and checks the signature over what it writes itself."""
    body = _ESCAPE.sub(lambda found: json.loads(b'"%b"' % found[0]).encode(errors="surrogatepass"), request.body)
    return replace(request, body=body)


def _without_limit(request: SignedRequest) -> SignedRequest:
    return replace(request, route=request.route.model_copy(update={"tolerance_s": _FOREVER_S}))


INJECTIONS: dict[ServiceDefect, Callable[[Steps], Steps]] = {
    ServiceDefect.SIGNATURE_UNCHECKED: _let_in_where(lambda request: True),
    ServiceDefect.SIGNATURE_UNCHECKED_SOMETIMES: _check_most,
    ServiceDefect.SIGNATURE_MAY_BE_EMPTY: _let_in_where(
        lambda request: request.signature is not None and not request.signature.strip()
    ),
    ServiceDefect.SIGNATURE_MAY_BE_MISSING: _let_in_where(lambda request: request.signature is None),
    ServiceDefect.SIGNATURE_NEVER_STALE: _let_in_changed(_without_limit),
    ServiceDefect.SIGNATURE_OF_ANY_TENANT: _try_all_secrets,
    ServiceDefect.SIGNATURE_OF_ANY_EVENT: _remember_signatures,
    ServiceDefect.SIGNATURE_WITHOUT_END: _let_in_changed(_without_end),
    ServiceDefect.SIGNATURE_OVER_REWRITTEN_JSON: _let_in_changed(_without_escapes),
    ServiceDefect.FORGED_KEPT: _keep_refused,
    ServiceDefect.ANSWER_CONTRADICTS: _contradict,
    ServiceDefect.ANSWER_OTHER_CORRELATION: _answer_another_id,
    ServiceDefect.ROW_OTHER_CORRELATION: _store_another_id,
}
