"""What a rule of the key storm finds, and what keeps it from finding anything.

A rule takes the evidence of one case. It returns a sentence, its figures and what is wrong, or raises ``Unjudgeable``
(INVALID) or ``NotTried`` (NOT-RUN). A process that gave no report may have done what the others did not: a rule asks
``require_reports`` before it says that something did not happen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from rig.evidence.key_case import Token
from rig.evidence.key_storm import KeyStorm
from rig.stats import quantile_figures

SCHEDULING_S = 0.35
"""Room in the limit of a single event, for the scheduler of a machine with many processes and few cores."""

Finding = tuple[str, Mapping[str, Any], str]
"""The rule, its figures, and what is wrong: empty where nothing is."""
Rule = Callable[[KeyStorm], Finding]


class Unjudgeable(Exception):
    """The evidence cannot carry the claim. The message says why."""


class NotTried(Exception):
    """There is nothing to judge. The message says why."""


def require_all_reports(rule: Rule) -> Rule:
    """The rule, where it takes all processes to say that nothing is wrong."""

    @functools.wraps(rule)
    def judge(storm: KeyStorm) -> Finding:
        sentence, figures, wrong = rule(storm)
        return sentence, figures, wrong or require_reports(storm)

    return judge


BAD = (Token.UNKNOWN, Token.FORGED)
"""The kinds of tokens that nobody may ever accept."""


def find_calls(storm: KeyStorm, *kinds: Token) -> pd.DataFrame:
    """The calls with tokens of some kinds; Unjudgeable where there are none."""
    rows = storm.calls[[Token.of(str(call)) in kinds for call in storm.calls["token"]]]
    if rows.empty:
        require_reports(storm)
        raise Unjudgeable(f"nobody asked with a token that is {' or '.join(kinds)}")
    return rows


def find_accepted_calls(rows: pd.DataFrame) -> pd.DataFrame:
    """The calls whose token was accepted."""
    return rows[rows["accepted"].astype(bool)]


def find_refused_calls(rows: pd.DataFrame) -> pd.DataFrame:
    """The calls whose token was not accepted, whatever the reason."""
    return rows[~rows["accepted"].astype(bool)]


def count_longer(rows: pd.DataFrame, limit_s: float) -> int:
    """How many calls took longer than that."""
    return int(((rows["end_ns"] - rows["start_ns"]) / 1e9 > limit_s).sum())


def wait_figures(rows: pd.DataFrame) -> dict[str, float]:
    """Quantiles of how long verifications took, ms."""
    return quantile_figures("wait", (rows["end_ns"] - rows["start_ns"]) / 1e6)


def count_errors(errors: pd.Series[str]) -> str:
    """Each error and how often it came, the most frequent first."""
    return ", ".join(f"{error} {count}" for error, count in errors.value_counts().items())


def require_reports(storm: KeyStorm, wrong: str = "") -> str:
    """What did not happen, or not in time. A process without a report may have done it: then nobody can tell."""
    if storm.missing:
        raise Unjudgeable("; ".join(storm.missing))
    return wrong


def blame_for_no_fetch(storm: KeyStorm, wrong: str) -> str:
    """``require_reports`` for a fetch, which nobody can be blamed for where nobody asked."""
    if storm.calls.empty and not storm.missing:
        raise NotTried("nobody asked")
    return require_reports(storm, wrong)


def require_fetches(storm: KeyStorm) -> None:
    """Where nobody fetched there is nothing to judge; where processes gave no report, nobody knows why."""
    if not storm.fetches:
        require_reports(storm)
        raise NotTried("nobody fetched")
