"""What is shown of a failing gate, as values and words: its first requests with answer, rows and lines in logs.

``rig.run.request_finder`` finds them in a pack. Terminal, report and ``rig show`` use the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rig.evidence.gate import Gate
from rig.text import one_line

_LEAST_WAITED_MS = 1.0


@dataclass(frozen=True, slots=True)
class RequestShown:
    """One request: ``sent_s`` since the run began, ``took_ms`` to its answer, ``logs`` as ``file:line: text``.

    It was due ``waited_ms`` before it was sent. ``attempt``: which one of how many, such as "2 of 3", where there was
    more than one. ``tenant`` and ``correlation`` are empty where the service has no tenants, or got no correlation id.
    ``cause``: the request before it by which it was lost; ``then``: what came of it for the next one.
    ``fault``: which fault of the rig was in force then, or near.
    """

    scenario_run: str
    seq: int
    tenant: str
    request_class: str
    key: str
    correlation: str
    sent_s: float
    took_ms: float
    status: int
    outcome: str
    error_kind: str
    body: str
    answer: str
    rows: tuple[str, ...]
    logs: tuple[str, ...]
    waited_ms: float = 0.0
    cause: str = ""
    then: str = ""
    attempt: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class SmallestEvent:
    """The smallest event that shows a problem: what happens, to how many events, and how to send it again.

    ``answer`` is what was answered, ``logs`` as in ``RequestShown``.
    """

    sentence: str
    events: str
    command: str
    answer: str = ""
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateShown:
    """A gate and its first examples; ``rest`` is the file that has all of them, ``hint`` what may be behind them."""

    gate: Gate
    examples: tuple[RequestShown, ...] = ()
    named: tuple[str, ...] = ()
    rest: str = ""
    hint: str = ""
    smallest: tuple[SmallestEvent, ...] = ()

    @property
    def has_examples(self) -> bool:
        """Whether there is more to show than the gate."""
        return bool(self.examples or self.named or self.smallest)


@dataclass(frozen=True, slots=True)
class PackShown:
    """What of a pack is shown, and what its run had wrong on purpose (``Judgement.on_purpose``)."""

    pages: tuple[GateShown, ...] | tuple[RequestShown, ...]
    on_purpose: str = ""


def gate_lines(page: GateShown) -> Iterator[tuple[str, str]]:
    """A gate and its examples as labels and texts."""
    gate = page.gate
    yield str(gate.verdict), gate.id
    yield "claim", gate.rule
    if gate.reason:
        yield "because", gate.reason
    if page.hint:
        yield "hint", page.hint
    for name in page.named:
        yield "seen", name
    for event in page.smallest:
        yield "", ""
        yield from (("seen", event.sentence), ("events", event.events))
        if event.answer:
            yield "answer", event.answer
        yield from (("log", line) for line in event.logs)
        yield "again", event.command
    for example in page.examples:
        yield "", ""
        yield from request_lines(example)
    if page.rest:
        yield "rest", page.rest


def smallest_example(page: GateShown) -> str:
    """The first example in one line; empty where there is none."""
    if not page.examples:
        named = (*page.named, *(event.sentence for event in page.smallest))
        return one_line(named[0]) if named else ""
    first = page.examples[0]
    row = f"; row {first.rows[0]}" if first.rows else ""
    row += "".join(f"; {more}" for more in (first.fault, first.then) if more)
    return one_line(
        f"{first.request_class} {first.seq} of {first.scenario_run}, key {first.key}: {_say_answer(first)}{row}"
    )


def _say_answer(page: RequestShown) -> str:
    return f"{page.status} after {page.took_ms:.1f} ms" if page.status else page.error_kind or "no answer"


def request_lines(page: RequestShown) -> Iterator[tuple[str, str]]:
    """One request as labels and texts."""
    attempt = f", attempt {page.attempt}" if page.attempt else ""
    tenant = f", tenant {page.tenant}" if page.tenant else ""
    yield "request", f"{page.request_class} {page.seq} of {page.scenario_run}{tenant}{attempt}"
    yield "key", page.key
    if page.correlation:
        yield "id", f"{page.correlation} (correlation)"
    late = f", {page.waited_ms:.1f} ms after it was due" if page.waited_ms >= _LEAST_WAITED_MS else ""
    yield "sent", f"{page.sent_s:.3f} s after the run began{late}: {page.body}"
    yield "answer", f"{_say_answer(page)}: {page.outcome} {page.answer}"
    if page.fault:
        yield "fault", page.fault
    if page.cause:
        yield "cause", page.cause
    if page.then:
        yield "then", page.then
    for row in page.rows:
        yield "row", row
    for line in page.logs:
        yield "log", line
