"""``rig show``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rig.cli.options import json_option
from rig.errors import ExitCode
from rig.text import json_text, one_line

if TYPE_CHECKING:
    from rig.verbs.show import GateShown, RequestShown

_LABEL = 10


@click.command("show")
@click.argument("pack", type=click.Path(path_type=Path))
@click.argument("what", metavar="[GATE|KEY]", required=False)
@json_option
def show(pack: Path, what: str | None, as_json: bool) -> int:
    """Show why a gate failed: the requests, their answers, their rows, their log lines.

    Without GATE or KEY every failing gate is shown. KEY is an idempotency key or a correlation id.
    """
    from rig.verbs.show import GateShown, show

    pages = show(pack, what)
    if as_json:
        click.echo(json_text({"shown": [asdict(page) for page in pages]}))
        return ExitCode.PASS
    if not pages:
        click.echo("no gate failed")
    for page in pages:
        lines = _gate(page) if isinstance(page, GateShown) else _request(page)
        for label, text in lines:
            click.echo(f"{label:<{_LABEL}}{one_line(text)}".rstrip())
        click.echo()
    return ExitCode.PASS


def _gate(page: GateShown) -> Iterator[tuple[str, str]]:
    gate = page.gate
    yield str(gate.verdict), gate.id
    yield "claim", gate.rule
    if gate.reason:
        yield "because", gate.reason
    for name in page.named:
        yield "seen", name
    for example in page.examples:
        yield "", ""
        yield from _request(example)
    if page.rest:
        yield "rest", page.rest


def _request(page: RequestShown) -> Iterator[tuple[str, str]]:
    answered = f"{page.status} after {page.took_ms:.1f} ms" if page.status else page.error_kind or "none"
    yield "request", f"{page.request_class} {page.seq} of {page.scenario_run}, tenant {page.tenant}"
    yield "key", page.key
    yield "id", f"{page.correlation} (correlation)"
    yield "sent", f"{page.sent_s:.3f} s after the run began: {page.body}"
    yield "answer", f"{answered}: {page.outcome} {page.answer}"
    for row in page.rows:
        yield "row", row
    for line in page.logs:
        yield "log", line
