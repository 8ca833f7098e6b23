"""Options that several verbs share. Those of a run are made from ``rig.settings``; the rest are declared here."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rig.limits import REQUESTS_CEILING, SECONDS_CEILING
from rig.settings import DEFAULTS, OPTIONS, TYPES, Settings

if TYPE_CHECKING:
    from rig.profile import Profile
    from rig.profile.discovery import ProfileChoice
    from rig.run.job import Job
    from rig.verbs.ladder import Plan


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_NOT_OF_EVERY_RUN = {"storms", "chaos", "certificate"}


class _FilePath(click.Path):
    """A path, as ``pathlib.Path``. An empty word is none: it comes from a variable that is not set."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty: give one. Is a variable not set?", param, ctx)
        return super().convert(value, param, ctx)


PATH = _FilePath()


class AliasedOption(click.Option):
    """An option whose old names still work, but are not in the help."""

    def __init__(self, names: Sequence[str], old: Sequence[str] = (), **how: Any) -> None:
        super().__init__([*names, *old], **how)
        self.old = {part for name in old for part in name.split("/")}

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Without the old names."""
        every = self.opts, self.secondary_opts
        self.opts, self.secondary_opts = ([name for name in names if name not in self.old] for names in every)
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts, self.secondary_opts = every


def setting_option(name: str, **changes: Any) -> _Decorator:
    """The option of one setting; ``changes`` replace its help or default."""
    option, default, kind = OPTIONS[name], changes.pop("default", DEFAULTS[name]), TYPES[name]
    flag, how = f"--{option.flag}", {"help": option.help, "default": default}
    if switch := option.switch or ((True, False) if kind is bool else None):
        flag = f"{flag}/--no-{option.flag}"
        how |= {"default": default == switch[0], "show_default": True}
        how["callback"] = lambda context, parameter, given: switch[0] if given else switch[1]
    elif isinstance(default, tuple):
        how["multiple"] = True
    else:
        how |= {"type": PATH if kind is Path else kind, "show_default": default is not None}
    return click.option(flag, name, cls=AliasedOption, old=option.old_flags, **(how | changes))


profile_option: _Decorator = click.option(
    "--profile",
    type=PATH,
    help="Read from this TOML file who the target is. Default: rig.toml here or above, then $RIG_PROFILE.",
)
reference_option: _Decorator = click.option(
    "--reference", is_flag=True, help="Judge the built-in reference service, whatever profile lies here."
)
json_option: _Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
seed_option, out_option, allow_host_option = map(setting_option, ("seed", "out", "allow_host"))


def positive_option(
    *names: str, default: float | None = None, least: float = 0, most: float = SECONDS_CEILING, text: str
) -> _Decorator:
    """An option that is a time or a rate, above 0 and from ``least`` ("nan" would pass every range of click's)."""

    def check(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
        if value is not None and not (0 < value <= most and value >= least):
            raise click.BadParameter(
                f"{value:g}: give a number {f'from {least:g}' if least else 'above 0'} to {most:,g}"
            )
        return value

    shown = default is not None
    return click.option(*names, type=float, default=default, show_default=shown, callback=check, help=text)


def count_option(*names: str, default: int | None = None, most: int = REQUESTS_CEILING, text: str) -> _Decorator:
    """An option that is a whole number from 1."""
    kind = click.IntRange(1, most)
    return click.option(*names, type=kind, default=default, show_default=default is not None, help=text)


def introduce(profile: Path | None, reference: bool, port: int = 0) -> ProfileChoice:
    """Choose the profile, and say on stderr what the target is."""
    from rig.profile import environment
    from rig.profile.discovery import find_profile

    choice = find_profile(profile, reference=reference, environ=environment())
    click.echo(choice.introduction(environment(), port), err=True)
    return choice


def decorate_with(*options: _Decorator) -> _Decorator:
    """All of these options, in their order in the help."""
    return lambda command: functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def is_given(name: str) -> bool:
    """Whether the command line gives an option."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def fill_in(options: Mapping[str, Any], of_profile: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a verb: as the command line gives them, else as the profile does, else their defaults."""
    return {name: value if is_given(name) else of_profile.get(name, value) for name, value in options.items()}


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a verb was asked for: the profile, the settings, and how to print."""

    choice: ProfileChoice
    settings: Settings
    as_json: bool = False

    def load_profile(self) -> Profile:
        """The profile; ConfigError where it is wrong."""
        return self.choice.load()

    def environment(self) -> Mapping[str, str]:
        """The environment of the run, which may name the target's database."""
        from rig.profile import environment

        return self.choice.environment(environment())

    def job(self, verb: str, profile: Profile | None = None, plan: Plan | None = None) -> Job:
        from rig.run.job import Job

        folder = self.choice.path.resolve().parent
        job = Job(verb, ("rig", *sys.argv[1:]), self.settings, profile or self.load_profile(), folder)
        return job if plan is None else replace(job, scenarios=plan.scenarios, left_out=plan.left_out)


def takes_settings(*names: str, json: bool = True, **defaults: Any) -> _Decorator:
    """Add ``--profile``, ``--reference``, these settings and (if wanted) ``--json``, as one ``Invocation``.

    ``defaults`` are the verb's own.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def wrapper(profile: Path | None, reference: bool, as_json: bool = False, **options: Any) -> int:
            settings = Settings(**{name: options.pop(name) for name in names})
            choice = introduce(profile, reference, settings.port)
            return command(Invocation(choice, settings, as_json), **options)

        of_settings = [setting_option(name, default=defaults.get(name, DEFAULTS[name])) for name in names]
        return decorate_with(profile_option, reference_option, *of_settings, *([json_option] if json else []))(wrapper)

    return decorate


def takes_run_settings(*more: str) -> _Decorator:
    """``takes_settings`` with all that every run has, and ``more``."""
    return takes_settings(*(name for name in OPTIONS if name not in _NOT_OF_EVERY_RUN), *more)
