"""``rig help``: the documents, without a network."""

from __future__ import annotations

import sys

import click

from rig.errors import ExitCode, UsageError
from rig.machine.files import documents_folder


@click.command("help")
@click.argument("topic", required=False)
def help_(topic: str | None) -> int:
    """Print a document. Without a TOPIC it lists them."""
    folder = documents_folder()
    if folder is None:
        raise UsageError("this installation has no documents; `rig COMMAND --help` explains each command")
    pages = {page.stem.lower(): page for page in sorted(folder.glob("*.md"))}
    if topic is None:
        for name, page in pages.items():
            click.echo(f"{name:<24} {page.read_text('utf-8').splitlines()[0].lstrip('# ')}")
    elif topic.lower() not in pages:
        raise UsageError(f"there is no topic {topic!r}: give one of {', '.join(pages)}")
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        console = Console()
        with console.pager(styles=True):
            console.print(Markdown(pages[topic.lower()].read_text("utf-8")))
    else:
        click.echo(pages[topic.lower()].read_text("utf-8").rstrip())
    return ExitCode.PASS
