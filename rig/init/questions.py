"""What ``rig init`` asks, in which order, with which defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from rig.errors import UsageError
from rig.model import Scheme

Answers = Mapping[str, str]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_STATUSES = re.compile(r"[234][0-9][0-9](,[234][0-9][0-9])*")


def _always(answers: Answers) -> bool:
    return True


def _never(answers: Answers) -> bool:
    return False


def _has_provisioning(answers: Answers) -> bool:
    return bool(answers["provision-sql"])


def _has_tenants(answers: Answers) -> bool:
    return not _has_provisioning(answers)


def _has_dead_column(answers: Answers) -> bool:
    return answers["dead-match"] != "count"


def _has_dead_payload(answers: Answers) -> bool:
    return answers["dead-match"].startswith("payload")


@dataclass(frozen=True, slots=True)
class Question:
    """One question. ``name`` is its option (``--name``); an empty default may stay empty.

    ``when``: whether it is asked at all, by the answers so far; ``needless``: whether it may stay empty then, and does
    by default. ``variable``: the answer is the name of an environment variable. ``statuses``: it is one or several
    HTTP statuses.
    """

    name: str
    prompt: str
    default: str = ""
    choices: tuple[str, ...] = ()
    when: Callable[[Answers], bool] = _always
    needless: Callable[[Answers], bool] = _never
    variable: bool = False
    statuses: bool = False

    def default_after(self, answers: Answers) -> str:
        """The answer where none is given."""
        return "" if self.needless(answers) else self.default

    def check(self, answer: str, answers: Answers) -> str:
        """The answer without the spaces around it; UsageError says what to give instead."""
        text = answer.strip() if self.name != "tenant-prefix" else answer.lstrip()
        if self.choices and text not in self.choices:
            raise UsageError(f"--{self.name}: give one of {', '.join(self.choices)}")
        if self.variable and text and not _VARIABLE.fullmatch(text):
            # Not repeated: it may be the secret itself.
            raise UsageError(
                f"--{self.name}: give the NAME of an environment variable (capitals, digits, underscores), never the "
                "secret itself"
            )
        if self.statuses and not _STATUSES.fullmatch(text):
            raise UsageError(f"--{self.name}: give an HTTP status like 202, or several like 200,409")
        if not text and self.default_after(answers):
            raise UsageError(f"--{self.name}: an answer is needed, like {self.default}")
        return text


QUESTIONS = (
    Question("name", "Name of the service", "my-service"),
    Question("base-url", "URL that it listens at", "http://127.0.0.1:8080"),
    Question("health", "Path that answers 200 while the service lives (empty: none)"),
    Question("ready", "Path that answers 200 while events can be stored (empty: none)"),
    Question("process-match", "Regular expression for the command lines of its processes (empty: not sampled)"),
    Question("route", "Path that a sender posts an event to", "/webhooks/orders"),
    Question("event", "File with one valid event as JSON (empty: a made-up one)"),
    Question("event-id", "Dotted path of the event's own id in it", "id"),
    Question("event-amount", "Dotted path of an amount in it (empty: it has none)"),
    Question("event-time", "Dotted path of its time in it (empty: it has none)"),
    Question("personal-at", "Dotted path in it where personal data could be", "customer.email"),
    Question(
        "scheme",
        "How the raw body is signed",
        "hmac-sha256-hex",
        choices=get_args(Scheme),
    ),
    Question("signature-header", "Header with the signature", "X-Signature"),
    Question(
        "signature-prefix",
        "Text before the signature in that header, like sha256= (empty: none)",
        when=lambda answers: answers["scheme"] != "stripe",
    ),
    Question("tenant-header", "Header with the tenant's API key", "X-API-Key"),
    Question("tenant-prefix", "Text before the key in that header, like Token (empty: none)"),
    Question("idempotency-header", "Header with the idempotency key", "Idempotency-Key"),
    Question("correlation-header", "Header with the correlation id", "X-Correlation-ID"),
    Question("provision-sql", "SQL statement that makes a tenant (empty: they exist already)"),
    Question("tenant-ids", "Ids of tenants that exist, as in their rows", "tenant-a,tenant-b", when=_has_tenants),
    Question(
        "secret-env",
        "NAME of the environment variable with the webhook secret (empty: the rig makes one)",
        "WEBHOOK_SECRET",
        needless=_has_provisioning,
        variable=True,
    ),
    Question("stored-status", "Status when an event is stored", "200", statuses=True),
    Question("duplicate-status", "Status when the event is known already", "200", statuses=True),
    Question("malformed-status", "Status for a malformed event, which goes to the dead letters", "200", statuses=True),
    Question("schemas", "Schemas of its tables", "public"),
    Question("canonical-table", "Table of accepted events", "events"),
    Question("canonical-tenant", "Its column with the tenant's id", "tenant_id"),
    Question("canonical-key", "Its column with the idempotency key", "idempotency_key"),
    Question("canonical-correlation", "Its column with the correlation id (empty: none)"),
    Question("dead-table", "Table of dead letters", "dead_letters"),
    Question("dead-tenant", "Its column with the tenant's id", "tenant_id"),
    Question(
        "dead-match",
        "What matches a dead letter with its request",
        "key",
        choices=("key", "correlation", "payload-key", "payload-correlation", "count"),
    ),
    Question("dead-column", "Column that holds it", "idempotency_key", when=_has_dead_column),
    Question("dead-path", "Dotted path in that JSON column", "headers.idempotency_key", when=_has_dead_payload),
    Question(
        "truth-dsn-env",
        "NAME of the variable with a DSN that sees every row",
        "RIG_TRUTH_DSN",
        variable=True,
    ),
    Question("runtime-dsn-env", "NAME of the variable with the service's DSN", "RIG_RUNTIME_DSN", variable=True),
)


def ask_all(ask: Callable[[Question, Answers], str]) -> dict[str, str]:
    """Ask what applies, in order; the answer to any other question is empty. UsageError for a wrong answer.

    ``ask`` gets the answers so far, for the default that follows from them.
    """
    answers: dict[str, str] = {}
    for question in QUESTIONS:
        applies = question.when(answers)
        answers[question.name] = question.check(ask(question, answers), answers) if applies else ""
    return answers
