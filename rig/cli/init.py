"""``rig init``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rig.cli.options import PATH, decorate_with
from rig.errors import ExitCode, RigError, UsageError
from rig.init.questions import QUESTIONS, Answers, Back, Question, ask_all
from rig.machine import libpq
from rig.machine.files import open_file

if TYPE_CHECKING:
    from rig.init.lookups import Lookups
    from rig.init.pasted import Pasted

_PASTE_BYTES_MAX = 1 << 21


def _parameter(question: Question) -> str:
    return question.name.replace("-", "_")


def _option(question: Question) -> Callable[..., Any]:
    about = f"{question.prompt}. Default: {question.default or 'empty'}."
    kind = click.Choice(question.choices) if question.choices else click.STRING
    return click.option(f"--{question.name}", _parameter(question), type=kind, help=about)


def _list_senders(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from rig.init.senders import table

        click.echo(table())
        context.exit(0)


@click.command("init")
@click.argument("path", type=PATH, default=Path("rig.toml"))
@click.option("--yes", is_flag=True, help="Ask nothing. Take the default of what is not given.")
@click.option(
    "--from-curl", type=click.Path(allow_dash=True), help="Take address, headers and event from a curl command in FILE."
)
@click.option(
    "--list-senders", is_flag=True, is_eager=True, expose_value=False, callback=_list_senders,
    help="List the senders whose signature is known, and what each needs.",
)  # fmt: skip
@click.option(
    "--probe/--no-probe",
    default=None,
    help="Send some twenty marked events to the service, see which rows come, and take them back. Default: ask.",
)
@decorate_with(*map(_option, QUESTIONS))
def init(path: Path, yes: bool, from_curl: str | None, probe: bool | None, **given: Any) -> int:
    """Ask a few questions about a service and write its profile.

    The default path is rig.toml. Every question is an option too; what is given is not asked. At a question, < goes
    back, ? explains, - leaves out. Answers may also come from a file on stdin, one a line. Secrets are never asked for,
    only the names of the environment variables that hold them. Where the service runs and its secret and the DSN are
    in the environment, probes answer the questions about tables, columns and statuses.
    """
    from rig.init.draft import draft, keeps_body, write
    from rig.profile import environment

    if path.exists():
        raise UsageError(f"{path} exists already; give another path, or move it away")
    pasted = _read_pasted_request(from_curl)
    answers_given = {question.name: given[_parameter(question)] for question in QUESTIONS}
    known = {name: text for name, text in answers_given.items() if text is not None}
    asker = _Asker(known, pasted, yes, environment(), probe)
    answers = ask_all(asker.ask, asker.typed)
    write(draft(answers, path, pasted, asker.found), path)
    if pasted.event is not None and keeps_body(answers["sender"]):
        _say(
            f"the body is the one of {answers['sender']}, not the pasted one: it carries a signature or several events"
        )
    for note in pasted.notes:
        click.echo(f"rig: {note}", err=True)
    click.echo(f"rig: {path} is written; read it through, export the variables that it names, and then", err=True)
    click.echo(f"rig:   rig doctor --profile {path}", err=True)
    return ExitCode.PASS


def _read_pasted_request(file: str | None) -> Pasted:
    from rig.init.curl import parse_curl
    from rig.init.pasted import Pasted, take_over

    if file is None:
        return Pasted()
    try:
        with click.open_file("-", "rb") if file == "-" else open_file(Path(file)) as source:
            data = source.read(_PASTE_BYTES_MAX)
        text = data.decode()
    except OSError as error:
        raise UsageError(f"--from-curl {file}: it cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--from-curl {file}: it is not text in UTF-8") from None
    return take_over(parse_curl(text))


def _say(text: str) -> None:
    click.echo(f"rig: {text}", err=True)


class _Asker:
    """Answers a question: from the options, the pasted request, the default, or the user."""

    def __init__(
        self, given: dict[str, str], pasted: Pasted, yes: bool, environ: Mapping[str, str], probe: bool | None
    ) -> None:
        from rig.init.found import Found
        from rig.init.lookups import Lookups

        self._given, self._pasted, self._yes, self._environ = given, pasted, yes, environ
        self._lookups: Lookups = Lookups(environ)
        self._terminal = sys.stdin.isatty()
        self._probe, self._accepted = probe, False
        self._probed: Answers = {}
        self.found = Found()
        self.typed: set[str] = set()

    def ask(self, question: Question, answers: Answers) -> str:
        """The answer to a question. ``Back`` where the user wants the one before."""
        if question.name == "schemas" and self._may_probe(answers):
            self._send_probes(answers)
        known = self._known(question, answers)
        if known is not None:
            return known
        default = self._default(question, answers)
        return default if self._yes else self._ask_user(question, answers, default)

    def _known(self, question: Question, answers: Answers) -> str | None:
        from rig.init.draft import has_number_as_key

        name = question.name
        if name in self._given:
            return self._given[name]
        if self._accepted and name in self.found.answers:
            return self.found.answers[name]
        if name == "event-text" and not has_number_as_key(answers, self._pasted):
            return ""
        if name == "sender" and self._pasted.sender:
            return self._pasted.sender
        if name == "event" and (self._pasted.event is not None or answers["sender"]):
            return ""
        if name == "scheme" and self._pasted.answers.get("scheme"):
            return self._pasted.answers["scheme"]
        if name in self._pasted.answers:
            return self._pasted.answers[name]
        if self._pasted.answers and name in ("signature-prefix", "tenant-header", "correlation-header"):
            return ""
        return None

    def _default(self, question: Question, answers: Answers) -> str:
        from rig.init.draft import FROM_EVENT, event_default

        if question.name in FROM_EVENT:
            return event_default(question.name, answers, self._pasted)
        default = self.found.answers.get(question.name, question.default_after(answers))
        if question.name == "schemas" and (there := self._lookups.schemas(answers)) and default not in there:
            return ",".join(there)
        return default

    def _may_probe(self, answers: Answers) -> bool:
        """Whether probes may be sent for these answers: nobody said no, and they were not offered before."""
        offered, self._probed = self._probed == answers, dict(answers)
        if self._probe is None and (self._yes or not self._terminal or not self._environ.get(answers["truth-dsn-env"])):
            return False
        return self._probe is not False and not offered

    def _send_probes(self, answers: Answers) -> None:
        """Let probes answer what they can; without them the questions go on."""
        from rig.init.draft import provisional
        from rig.init.found import Found
        from rig.init.probes import plan, probe

        self.found, self._accepted = Found(), False
        variable = answers["truth-dsn-env"]
        try:
            if not self._environ.get(variable):
                raise UsageError(f"${variable} is not set; export it")
            profile = provisional(answers, Path("rig.toml"), self._pasted, tries_fields=True)
            _say(f"probes find tables, columns and statuses. What that does: {plan(profile)}")
            if self._probe is None and not self._says_yes("Do this now"):
                return
            dsn = libpq.complete(self._environ[variable], variable)
            self.found = probe(profile, dsn, self._environ, _say)
        except RigError as error:
            _say(f"the probes found nothing: {error}")
            return
        _say(f"what the service made of the probes:\n{self.found.table()}")
        asks = self._terminal and not self._yes
        self._accepted = not asks or self._says_yes("Take this over (no: each is asked, with it as default)")

    def _says_yes(self, question: str) -> bool:
        while True:
            click.echo(f"{question} (yes, no) [yes]: ", nl=False, err=True)
            line = sys.stdin.readline()
            if not line:
                raise click.Abort
            if line.strip().lower() in ("", "y", "yes", "n", "no"):
                return line.strip().lower() in ("", "y", "yes")

    def _ask_user(self, question: Question, answers: Answers, default: str) -> str:
        """Ask until the answer is a valid one."""
        from rig.init.draft import check_answer
        from rig.init.lookups import unreachable

        if not self.typed and self._terminal:
            click.echo("Enter takes the answer in brackets; ? explains, < goes back, - leaves out.", err=True)
        choices = f" ({', '.join(question.choices)})" if question.choices else ""
        while True:
            click.echo(f"{question.prompt}{choices} [{default}]: ", nl=False, err=True)
            line = sys.stdin.readline()
            if not line:
                if self._terminal:
                    raise click.Abort
                raise UsageError(
                    f"there is no answer to --{question.name}: the input ended; give --yes, and the options that "
                    "differ from their defaults"
                )
            typed = line.rstrip("\r\n")
            if typed.strip() == "<":
                raise Back
            if typed.strip() == "?":
                click.echo(f"  {question.explain}".replace("\n", "\n  "), err=True)
                continue
            try:
                answer = question.check(typed or default, answers)
                self._lookups.check(question.name, answer, answers)
                if self._terminal:
                    check_answer(question.name, answer, answers, self._pasted)
            except RigError as error:
                if not self._terminal:
                    raise
                click.echo(f"  {error}", err=True)
                continue
            if question.name == "base-url" and (why := unreachable(answer)):
                click.echo(f"  note: {why}", err=True)
            self.typed.add(question.name)
            return typed or default
