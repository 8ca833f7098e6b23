"""What ``rig init`` asks, in which order, with which defaults, and what is NOT-RUN without an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import get_args

from rig.errors import UsageError
from rig.machine.urls import split_base_url
from rig.model import Scheme
from rig.profile.routes import sender_names, sender_preset

Answers = Mapping[str, str]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_STATUSES = re.compile(r"[2345][0-9][0-9](,[2345][0-9][0-9])*")
NONE = "-"
"""The answer that leaves something out where the default is not empty."""


class Back(Exception):
    """The question before is to be asked again."""


def _always(answers: Answers) -> bool:
    return True


def _never(answers: Answers) -> bool:
    return False


def _has_provisioning(answers: Answers) -> bool:
    return bool(answers["provision-sql"])


def _can_make_secret(answers: Answers) -> bool:
    """Whether the rig can make the secret of a tenant that it makes. It can make no private key."""
    sender = answers["sender"]
    return _has_provisioning(answers) and not (sender in sender_names() and sender_preset(sender).get("hook"))


def _names_tenants(answers: Answers) -> bool:
    return not _has_provisioning(answers)


def _has_tenants(answers: Answers) -> bool:
    return bool(answers["provision-sql"] or answers["tenant-ids"])


def _is_signed(answers: Answers) -> bool:
    return not answers["sender"] and answers["scheme"] != "none"


def _has_dead_letters(answers: Answers) -> bool:
    return bool(answers["dead-table"])


def _has_dead_column(answers: Answers) -> bool:
    return _has_dead_letters(answers) and answers["dead-match"] != "count"


def _has_dead_payload(answers: Answers) -> bool:
    return _has_dead_letters(answers) and answers["dead-match"].startswith("payload")


@dataclass(frozen=True, slots=True)
class Question:
    """One question. ``name`` is its option (``--name``); an empty default may stay empty.

    ``when``: whether it is asked at all, by the answers so far; ``needless``: whether it may stay empty then, and does
    by default. ``variable``: the answer is the name of an environment variable. ``statuses``: it is one or several
    HTTP statuses. ``explain``: what ``?`` says. ``optional``: it may be left out although it has a default.
    """

    name: str
    prompt: str
    default: str = ""
    explain: str = ""
    choices: tuple[str, ...] = ()
    when: Callable[[Answers], bool] = _always
    needless: Callable[[Answers], bool] = _never
    variable: bool = False
    statuses: bool = False
    optional: bool = False

    def default_after(self, answers: Answers) -> str:
        """The answer where none is given."""
        if self.statuses and self.name == "invalid-json-status":
            return answers["malformed-status"]
        if self.name == "malformed-status" and not answers["dead-table"]:
            return "400"
        return "" if self.needless(answers) else self.default

    def check(self, answer: str, answers: Answers) -> str:
        """The answer without the spaces around it; UsageError says what to give instead."""
        text = answer.lstrip() if self.name in ("tenant-prefix", "signature-prefix") else answer.strip()
        if text == NONE and (self.optional or not self.default_after(answers)):
            return ""
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
        if self.name == "base-url":
            try:
                split_base_url(text)
            except ValueError as error:
                raise UsageError(f"--base-url: {error}") from None
        if not text and self.default_after(answers) and not self.optional:
            raise UsageError(f"--{self.name}: an answer is needed, like {self.default_after(answers)}")
        return text


QUESTIONS = (
    Question("name", "Name of the service", "my-service", "What reports call it: letters, digits, dots, dashes."),
    Question("base-url", "URL that it listens at", "http://127.0.0.1:8080",
             "The rig loads this machine only (loopback)."),
    Question("health", "Path that answers 200 while the service lives (empty: none)", "",
             "Like /health. Asked once a second under load. Without it nothing is said of the service's health."),
    Question("ready", "Path that answers 200 while events can be stored (empty: none)", "",
             "Like /ready. Asked once a second under load."),
    Question("process-match", "Regular expression for the command lines of its processes (empty: not sampled)", "",
             "Like 'uvicorn shop:app'. Without it CPU and memory of the service are not sampled."),
    Question("route", "Path that a sender posts an event to", "/webhooks/orders", "With its query, if there is one."),
    Question("sender", "Sender whose signature is known (empty: another)", "",
             "Like stripe or github; `rig init --list-senders` lists all.", optional=True),
    Question("event", "File with one valid event: JSON, a form or XML (empty: a made-up one)", "",
             "Save one event as your sender posts it. Its id, amount and time become placeholders."),
    Question("idempotency-header", "Header with the key that deduplicates events (empty: the event's own id does)", "",
             "Like Idempotency-Key or X-GitHub-Delivery. Where the service deduplicates by an id in the body, leave\n"
             "it empty: the rig then puts its key there, and looks the row up by it."),
    Question("event-id", "Dotted path of the event's own id in it (in XML: the id itself)", "id",
             "Like id or data.object.id. A number steps into a list.", optional=True),
    Question("event-text", "The id is a number, and rows are looked up by a text: path of one that the row keeps",
             "", "Like parcel or order.reference. Each event gets another text there, and another number as id.",
             optional=True),
    Question("event-amount", "Dotted path of an amount in it (empty: it has none)", "",
             "Like data.amount. Each event gets another. Without it only the id and the time differ.", optional=True),
    Question("event-time", "Dotted path of its time in it (empty: it has none)", "",
             "Like created. Seconds or milliseconds since 1970, or a text like 2027-01-01T00:00:00Z.", optional=True),
    Question("personal-at", "Dotted path in it where personal data could be (empty: not tested)", "",
             "Like customer.email. Without it S4 (no personal data is kept) is NOT-RUN.", optional=True),
    Question("scheme", "How the raw body is signed", "hmac-sha256-hex",
             "none: nothing is signed, then forged events are NOT-RUN. token: the secret itself is sent. hmac: an\n"
             "HMAC, with --algorithm and --encoding. stripe: t=…,v1=….",
             choices=get_args(Scheme), when=lambda answers: not answers["sender"]),
    Question("algorithm", "Hash of the HMAC", "sha256", "As the sender's documentation says.",
             choices=("sha256", "sha1", "sha512", "sha384", "md5"),
             when=lambda answers: _is_signed(answers) and answers["scheme"] == "hmac"),
    Question("encoding", "How the HMAC is written", "hex", "hex: 0-9a-f. base64: it often ends in =.",
             choices=("hex", "base64", "hex-upper", "base64url", "base64url-unpadded"),
             when=lambda answers: _is_signed(answers) and answers["scheme"] == "hmac"),
    Question("signature-header", "Header with the signature", "X-Signature", "Like X-Hub-Signature-256.",
             when=_is_signed, optional=True),
    Question("signature-prefix", "Text before the signature in that header, like sha256= (empty: none)", "",
             "Like sha256= or 'Bearer ' with its space.",
             when=lambda answers: _is_signed(answers) and answers["scheme"] != "stripe"),
    Question("tenant-header", "Header with the tenant's API key (empty: no header names the tenant)", "",
             "Like X-API-Key or Authorization. Without tenants S5 and isolation are NOT-RUN.", optional=True),
    Question("tenant-prefix", "Text before the key in that header, like Token (empty: none)", "",
             "Like 'Bearer ' with its space.", when=lambda answers: bool(answers["tenant-header"])),
    Question("provision-sql", "SQL statement that makes a tenant (empty: they exist already, or there are none)", "",
             "It gets %(tenant_id)s, %(name)s, %(api_key)s, %(api_key_sha256)s and %(secrets)s. Where the database\n"
             "gives the id, end it with RETURNING … AS tenant_id. Each run then has tenants of its own."),
    Question("tenant-ids", "Ids of tenants that exist, as in their rows (empty: none)", "",
             "Like 17,18. The ladder needs two, a whole run six. What needs two is NOT-RUN with one.",
             when=_names_tenants, optional=True),
    Question("secret-env", "NAME of the environment variable with the webhook secret (empty: the rig makes one)",
             "WEBHOOK_SECRET", "Never the secret itself. Where a statement makes the tenants, the rig can make it.",
             needless=_can_make_secret, variable=True,
             when=lambda answers: bool(answers["sender"]) or answers["scheme"] != "none"),
    Question("correlation-header", "Header with the correlation id (empty: none)", "",
             "Like X-Request-ID. Without it correlation ids are not compared.", optional=True),
    Question("truth-dsn-env", "NAME of the variable with a DSN that sees every row", "RIG_TRUTH_DSN",
             "Like RIG_TRUTH_DSN, which holds postgresql://owner:…@127.0.0.1/shop.", variable=True),
    Question("runtime-dsn-env", "NAME of the variable with the service's DSN", "RIG_RUNTIME_DSN",
             "It may stay unset; then the gates on isolation by trial are NOT-RUN.", variable=True),
    Question("schemas", "Schemas of its tables", "public", "Like public or shop,audit."),
    Question("canonical-table", "Table of accepted events", "events", "Like events or shop.events."),
    Question("canonical-tenant", "Its column with the tenant's id", "tenant_id",
             "Without it rows are not compared by tenant.", when=_has_tenants, optional=True),
    Question("canonical-key", "Its column with the idempotency key", "idempotency_key",
             "The column that holds the value of the header, or the event's own id."),
    Question("canonical-correlation", "Its column with the correlation id (empty: none)", "",
             "Like correlation_id.", when=lambda answers: bool(answers["correlation-header"]), optional=True),
    Question("dead-table", "Table of dead letters (empty: there is none)", "",
             "Where events that are wrong are kept. Without it EG3.3 is NOT-RUN.", optional=True),
    Question("dead-tenant", "Its column with the tenant's id", "tenant_id", "Like tenant_id.",
             when=lambda answers: _has_dead_letters(answers) and bool(answers["canonical-tenant"])),
    Question("dead-match", "What matches a dead letter with its request", "key",
             "key, correlation: a column holds it. payload-…: it is in a JSON column. count: numbers alone.",
             choices=("key", "correlation", "payload-key", "payload-correlation", "count"), when=_has_dead_letters),
    Question("dead-column", "Column that holds it", "idempotency_key", "Like idempotency_key, or headers.",
             when=_has_dead_column),
    Question("dead-path", "Dotted path in that JSON column", "headers.idempotency_key", "Like idempotency-key.",
             when=_has_dead_payload),
    Question("stored-status", "Status when an event is stored", "200", "Like 200, 201 or 202.", statuses=True),
    Question("duplicate-status", "Status when the event is known already", "200", "Like 200 or 409.", statuses=True),
    Question("malformed-status", "Status for an event whose content is wrong", "200", "Like 400 or 422.",
             statuses=True),
    Question("invalid-json-status", "Status for a body that is no JSON", "400", "Like 400.", statuses=True),
)  # fmt: skip


def list_words(answer: str) -> list[str]:
    """The parts of an answer like ``public,shop``."""
    return [each for part in answer.split(",") if (each := part.strip())]


def ask_all(ask: Callable[[Question, Answers], str], typed: Collection[str] = ()) -> dict[str, str]:
    """Ask what applies, in order; the answer to any other question is empty. UsageError for a wrong answer.

    ``ask`` gets the answers so far, for the default that follows from them. It raises ``Back`` to ask the question
    before again: the last one whose name is in ``typed`` by then.
    """
    answers: dict[str, str] = {}
    at = 0
    while at < len(QUESTIONS):
        question = QUESTIONS[at]
        answers = {earlier.name: answers[earlier.name] for earlier in QUESTIONS[:at]}
        try:
            applies = question.when(answers)
            answers[question.name] = question.check(ask(question, answers), answers) if applies else ""
            at += 1
        except Back:
            asked = [place for place, earlier in enumerate(QUESTIONS[:at]) if earlier.name in typed]
            at = asked[-1] if asked else at
    return answers
