"""The group of all verbs, and the last line of defence: whatever goes wrong gets its words and its exit code."""

from __future__ import annotations

import itertools
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from rig import __version__
from rig.cli.calibrate import calibrate
from rig.cli.capacity import capacity
from rig.cli.chaos import chaos
from rig.cli.ci import ci
from rig.cli.clean import clean
from rig.cli.doctor import doctor
from rig.cli.help import help_
from rig.cli.history import history
from rig.cli.init import init
from rig.cli.ladder import ladder
from rig.cli.mix import mix, ui
from rig.cli.packs import check, compare, report, settle
from rig.cli.perf import perf
from rig.cli.prove import prove_
from rig.cli.run import run
from rig.cli.sample import sample
from rig.cli.show import show
from rig.cli.storm import storm_
from rig.cli.streams import forgive
from rig.cli.up import down, up
from rig.cli.worker import worker
from rig.errors import ConfigError, ExitCode, RigError, UsageError
from rig.machine import libpq
from rig.machine.orphans import adopt_orphans
from rig.machine.supervisor import register_orphan
from rig.text import is_encodable, one_line


class _Grouped(click.Group):
    """Lists its verbs by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands)) + 1
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{verb.name or '':<{width}}", verb.short_help or "") for verb in verbs])


@click.group(
    cls=_Grouped, context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="VERB [OPTIONS]"
)
@click.version_option(__version__, prog_name="rig")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback for every error.")
def cli() -> None:
    """Test a webhook service under load and prove what it stored.

    Exit codes: 0 pass, 1 the target failed a gate, 2 the client is below the null floor, 3 the evidence is invalid, 64
    wrong usage, 69 target or database unavailable, 70 a fault of the rig, 78 wrong configuration, 130 interrupted.
    """
    try:
        Path.cwd()  # every child process is started in it
    except FileNotFoundError:
        raise ConfigError("the current folder was removed; go to another one (cd)") from None


GROUPS = {
    "Start here": (run, init, doctor, up, down, help_),
    "Load and judge": (ladder, perf, capacity, chaos, storm_, calibrate, prove_, sample),
    "Evidence packs": (show, check, compare, history, report, settle, clean),
    "With locust": (ui, mix, worker, ci),
}
for verb in itertools.chain(*GROUPS.values()):
    verb.short_help = (verb.help or "").split("\n\n")[0]  # whole: click cuts a summary that it makes itself
    cli.add_command(verb)


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Nothing that goes wrong ends in 1 or 2 but a verdict."""
    debug = "--debug" in arguments[:1]
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as ``rig.__main__`` leaves it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, _interrupt)
        _require_text(arguments)
        result = cli.main(args=list(arguments), prog_name="rig", standalone_mode=False)
        return int(result or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("rig: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except RigError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"rig: {_message_of(error)}", err=True)
        return error.exit_code
    except Exception as error:  # the last line of defence: a bug must not look like a verdict
        if debug:
            traceback.print_exc()
        click.echo(f"rig: a fault of the rig itself: {type(error).__name__}: {_message_of(error)}", err=True)
        click.echo("rig: run it again as `rig --debug …` and report what it prints", err=True)
        return ExitCode.INTERNAL


def _require_text(arguments: Sequence[str]) -> None:
    """UsageError where a word has bytes that are no text: a pack repeats the words, and no JSON can hold them."""
    for word in arguments:
        if not is_encodable(word):
            raise UsageError(
                f"{word!a}: it has bytes that are no text in this locale; rename it, or set LC_ALL=C.UTF-8"
            )


def _message_of(error: Exception) -> str:
    """An error's words, line by line: where they quote the target, none of its bytes may command the terminal."""
    return "\n".join(map(one_line, str(error).split("\n")))


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def entry() -> None:
    """The console script."""
    forgive()
    libpq.withdraw()
    adopt_orphans(register_orphan)
    sys.exit(main(sys.argv[1:]))
