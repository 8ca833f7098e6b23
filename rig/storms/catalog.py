"""Runs a storm by its name: the only place that knows the function of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
from pydantic import TypeAdapter

from rig.checks.race_tests.catalog import RACE_TESTS, require_protections
from rig.errors import Unavailable, UsageError
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import UNKNOWN_KID, StormReport, missing_section
from rig.profile import Profile
from rig.storms.environment import WITHOUT, StormEnvironment, StormOptions
from rig.storms.race_test import RaceTest
from rig.storms.statements import first_line
from rig.storms.unknown_kid.storm import require_key_ids, unknown_kid

_REPORT = TypeAdapter(StormReport)


def _find_function(storm: str) -> Callable[[RaceTest[Any]], StormReport]:
    """The function of a race test: it has the name of its module."""
    name = storm.replace("-", "_")
    function: Callable[[RaceTest[Any]], StormReport] = getattr(import_module(f"rig.storms.{name}"), name)
    return function


_RACE_TESTS = {storm: _find_function(storm) for storm in RACE_TESTS}


def require(profile: Profile, profile_dir: Path, storm: str, options: StormOptions) -> None:
    """UsageError where the options name what the storm or its subject does not have."""
    if storm == UNKNOWN_KID:
        require_key_ids(profile, options, profile_dir)
    if storm in RACE_TESTS and options.cases:
        raise UsageError(f"--case: {storm} has no cases")
    if storm in RACE_TESTS and options.without:
        require_protections(storm, options.without)
        commands = [value for _, value in _section(profile, storm) or () if isinstance(value, tuple)]
        if not any(WITHOUT in command for command in commands):
            raise UsageError(f"--without: no command of [storms.{storm}] in the profile has the word {WITHOUT}")


def run_storm(environment: StormEnvironment, storm: str, options: StormOptions) -> Iterator[StormReport | KeyStorm]:
    """Run a storm; a report for each of its cases as it ends.

    Messages of members and replicas may quote their environment: the run's secrets are taken out of the reports.
    RigError where the storm cannot go on: Unavailable where the database is to blame.
    """
    try:
        for report in _reports(environment, storm, options):
            if isinstance(report, KeyStorm):
                yield replace(report, missing=tuple(map(environment.secrets.blank, report.missing)))
            else:
                yield _REPORT.validate_json(environment.secrets.blank(_REPORT.dump_json(report).decode()))
    except psycopg.Error as error:
        message = environment.secrets.blank(first_line(error))
        raise Unavailable(f"the database of the storm {storm} failed: {message}") from None


def _reports(environment: StormEnvironment, storm: str, options: StormOptions) -> Iterator[StormReport | KeyStorm]:
    section = _section(environment.profile, storm)
    if storm == UNKNOWN_KID and (section is not None or options.subject):
        yield from unknown_kid(environment, options)
    elif section is None:
        yield missing_section(storm, asked=True)  # a storm is asked for by name; a whole run looks for sections first
    else:
        yield _RACE_TESTS[storm](RaceTest(storm, environment, options, section))


def _section(profile: Profile, storm: str) -> Any:
    """The storm's section of the profile; None where it has none."""
    return getattr(profile.storms, storm.replace("-", "_"))
