"""The two steps between a good signature and the answer, and how a request can end.

``judge`` is pure and decides; ``persist`` is one transaction and stores. They are values, so that a defect can replace
either while the code around them stays as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from stub_server.service.directory import Taxonomy
from stub_server.service.intake import Decision, Delivery


class WebhookOutcome(StrEnum):
    """How a request ended. The first three are answered with 200, and only after the commit."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead_letter"
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"
    ERROR = "error"


Judge = Callable[[Delivery, Taxonomy], Decision]
Persist = Callable[[Delivery, Decision], Awaitable[WebhookOutcome]]


@dataclass(frozen=True)
class Steps:
    """The two steps of a request."""

    judge: Judge
    persist: Persist
