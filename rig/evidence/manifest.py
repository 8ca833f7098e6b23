"""The manifest of a pack: what was asked for, when, and on which machine.

It is written again after every scenario run, so that a crash leaves a true one. It holds no secret: a profile names the
environment variables that hold secrets, never their values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.schema import SCHEMA
from rig.model import RunKey, Tenant

_Time = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
"""A plot of the history can draw it."""
_NO_TABLES = ("version", "name", "default_source")
_LISTS = ("routes", "channels", "personal_keys")

UNENDED = "the run did not come to its end"
"""Why a run was cut short that could not say so itself: it still runs, or was killed."""


def _require_tables(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """A profile whose sections are tables and lists, as all who read it expect."""
    for key, value in profile.items():
        if key in _LISTS:
            fits = isinstance(value, list) and (key != "routes" or all(isinstance(each, Mapping) for each in value))
        else:
            fits = value is None or isinstance(value, Mapping) or key in _NO_TABLES
        if not fits:
            raise ValueError(f"{key[:80]!r} is no section of a profile")
    return profile


def _require_list_of_defects(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(settings.get("defects") or [], list):
        raise ValueError("'defects' is no list")
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Identity, configuration and course of one run.

    ``profile`` and ``settings`` are the resolved configuration. All keys, bodies and canaries derive from ``key`` (None
    for a verb that sends nothing to the target). ``epoch_monotonic_ns`` is the start on the clock of the history;
    ``started_utc`` is the same instant on the wall clock. ``ended_utc`` is None until the end. ``cut_short`` says why
    the run ended before its work was done; it is empty where it did not, and in old packs that have no such key.
    """

    schema: int = SCHEMA
    rig_version: str = ""
    verb: str
    argv: tuple[str, ...]
    seed: int
    key: RunKey | None = None
    started_utc: _Time
    ended_utc: _Time | None = None
    epoch_monotonic_ns: int
    settings: Annotated[Mapping[str, Any], AfterValidator(_require_list_of_defects)] = field(default_factory=dict)
    profile: Annotated[Mapping[str, Any], AfterValidator(_require_tables)] = field(default_factory=dict)
    tenants: tuple[Tenant, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    scenario_runs: tuple[ScenarioRun, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that the target could not be sent, each with the reason."""
    notes: tuple[str, ...] = ()
    cut_short: str = ""

    @property
    def duration_s(self) -> float | None:
        """Start to end in seconds; None while it runs and after a crash."""
        return None if self.ended_utc is None else (self.ended_utc - self.started_utc).total_seconds()
