"""One storm by its name: the only place that knows which function lets which storm loose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import psycopg
from pydantic import TypeAdapter

from rig.errors import Unavailable, UsageError
from rig.evidence.key_storm import KeyStorm
from rig.evidence.storm import (
    MATVIEW_REFRESH,
    MIGRATION_RACE,
    RATE_LIMIT,
    SCHEDULER_CLAIM,
    SISTERS,
    TENANT_LEAK,
    UNKNOWN_KID,
    StormReport,
    absent,
    require_protections,
)
from rig.profile import Profile
from rig.storms.environment import WITHOUT, StormEnvironment, StormOptions
from rig.storms.matview_refresh import matview_refresh
from rig.storms.migration_race import migration_race
from rig.storms.rate_limit import rate_limit
from rig.storms.scheduler_claim import scheduler_claim
from rig.storms.statements import first_line
from rig.storms.tenant_leak import tenant_leak
from rig.storms.unknown_kid.storm import require_key_ids, unknown_kid

_REPORT = TypeAdapter(StormReport)
_SISTERS: Mapping[str, Callable[[StormEnvironment, StormOptions, Any], StormReport]] = {
    MIGRATION_RACE: migration_race,
    SCHEDULER_CLAIM: scheduler_claim,
    RATE_LIMIT: rate_limit,
    MATVIEW_REFRESH: matview_refresh,
    TENANT_LEAK: tenant_leak,
}


def require(profile: Profile, storm: str, order: StormOptions) -> None:
    """UsageError where the order names what the storm or its subject does not have."""
    if storm == UNKNOWN_KID:
        require_key_ids(profile, order)
    if storm in SISTERS and order.cases:
        raise UsageError(f"--case: {storm} has no cases")
    if storm in SISTERS and order.without:
        require_protections(storm, order.without)
        commands = [value for _, value in _subject(profile, storm) or () if isinstance(value, tuple)]
        if not any(WITHOUT in command for command in commands):
            raise UsageError(f"--without: no command of [storms.{storm}] in the profile has the word {WITHOUT}")


def let_loose(environment: StormEnvironment, storm: str, order: StormOptions) -> Iterator[StormReport | KeyStorm]:
    """Let a storm loose; a report for each of its cases as it ends.

    What members and replicas said in it may quote their environment: it is told without the run's secrets. RigError
    where it cannot go on: Unavailable where that is the database's doing.
    """
    try:
        for report in _reports(environment, storm, order):
            if isinstance(report, KeyStorm):
                yield replace(report, missing=tuple(map(environment.secrets.blanked, report.missing)))
            else:
                yield _REPORT.validate_json(environment.secrets.blanked(_REPORT.dump_json(report).decode()))
    except psycopg.Error as error:
        said = environment.secrets.blanked(first_line(error))
        raise Unavailable(f"the database of the storm {storm} failed: {said}") from None


def _reports(environment: StormEnvironment, storm: str, order: StormOptions) -> Iterator[StormReport | KeyStorm]:
    subject = _subject(environment.profile, storm)
    if storm == UNKNOWN_KID and (subject is not None or order.subject):
        yield from unknown_kid(environment, order)
    elif subject is None:
        yield absent(storm, asked=True)  # whoever lets a storm loose names it; a whole run looks for the section first
    else:
        yield _SISTERS[storm](environment, order, subject)


def _subject(profile: Profile, storm: str) -> Any:
    """The section of the profile that says what a storm is let loose on; None where there is none."""
    return getattr(profile.storms, storm.replace("-", "_"))
