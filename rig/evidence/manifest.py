"""What a pack says of its run: who was asked to do what, when, on which machine.

The manifest is written again after every drive, so that a crash leaves a true one. It carries no secret: a profile
names the environment variables that hold them, never their values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.schema import SCHEMA
from rig.model import RunKey, Tenant

UNENDED = "the run did not come to its end"
"""Why a run was cut short that has not said so itself: it still goes, or was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Identity, configuration and course of one run.

    ``profile`` and ``settings`` are the resolved configuration; ``key`` is what all keys, bodies and canaries derive
    from (None for a verb that sends nothing to the target). ``epoch_monotonic_ns`` is the start on the monotonic clock
    that all times of the history count on; ``started_utc`` is the same instant on the wall. ``ended_utc`` is None until
    the end. ``cut_short`` says why not all was done that was to be done: empty once it was, and in the packs of rigs
    that did not write it down.
    """

    schema: int = SCHEMA
    rig_version: str = ""
    verb: str
    argv: tuple[str, ...]
    seed: int
    key: RunKey | None = None
    started_utc: datetime
    ended_utc: datetime | None = None
    epoch_monotonic_ns: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    tenants: tuple[Tenant, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    scenario_runs: tuple[ScenarioRun, ...] = ()
    notes: tuple[str, ...] = ()
    cut_short: str = ""

    @property
    def duration_s(self) -> float | None:
        """Start to end in seconds; None while it runs and after a crash."""
        return None if self.ended_utc is None else (self.ended_utc - self.started_utc).total_seconds()
