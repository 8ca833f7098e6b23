"""Packs of earlier releases under today's names of keys, columns and words, by file.

Release 0.1 wrote schema 1. Old names are translated wherever they are found, whatever the manifest says, so that this
release can finish a pack that an earlier one left unfinished.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rig.evidence.parquet import read_frame

Finish = Callable[[pd.DataFrame], pd.DataFrame]

SCHEMA = 2
"""What this rig writes."""
READABLE = (1, 2)

_MANIFEST = {"drives": "scenario_runs"}
_SETTINGS = {"ruler": "latency_calibration"}
_RENAMED: Mapping[str, Mapping[str, str]] = {
    "certificate.json": {"ruler": "latency_calibration"},
    "truth/report.json": {"drive": "scenario_run", "unclean": "discrepancies"},
    "storms/matview-refresh.json": {"reader_patience_ms": "reader_wait_timeout_ms"},
    "crowd/*.json": {"blocks": "batches", "announced": "credit"},
    "storms/unknown-kid/*.json": {
        "knobs": "verifier_settings",
        "floor_s": "cool_down_s",
        "patience_s": "wait_timeout_s",
        "tee": "proxy_fetches",
        "door": "connections",
        "exhibit": "display_only",
    },
}
_FIGURES = {
    "drives": "scenario_runs",
    "rps_trials": "trials_rps",
    "clock_error_ms_max": "clock_error_max_ms",
    "worker_rss_mib_max": "worker_rss_max_mib",
    "worker_rss_growth_mib_max": "worker_rss_growth_max_mib",
    "p95_ms": "response_p95_ms",
    "p50_ms": "wait_p50_ms",
    "p99_ms": "wait_p99_ms",
    "max_ms": "wait_max_ms",
    "reader_patience_ms": "reader_wait_timeout_ms",
    "floor_s": "cool_down_s",
    "fair": "expected_fetches",
    "most_in_a_floor": "most_in_a_cool_down",
    "longer_than_patience": "longer_than_wait_timeout",
    "tee": "proxy_fetches",
}
_QUANTILE = re.compile(r"(\w+)_ms_(p\d+)")
"""Of a gate's figures, whose names did not always end in their unit: ``response_ms_p95``."""
_COLUMNS = {"drive": "scenario_run"}
_ERROR_KINDS = {"not_sent": "skipped"}
_OUTCOMES = {"ok": "acknowledged", "fail": "refused", "info": "indeterminate", "skipped": "not_sent"}


def translate(name: str, document: Any) -> Any:
    """A JSON document of a pack under today's keys; ``name`` is its file within the pack."""
    if name == "manifest.json" and isinstance(document, dict):
        translated = _rename_keys(document, _MANIFEST, deep=False)
        if isinstance(translated.get("settings"), dict):
            translated["settings"] = _rename_keys(translated["settings"], _SETTINGS, deep=False)
        return translated
    if name == "verdicts.json" and isinstance(document, dict) and isinstance(document.get("gates"), list):
        return {**document, "gates": [_with_todays_figures(gate) for gate in document["gates"]]}
    for pattern, names in _RENAMED.items():
        if fnmatch(name, pattern):
            return _rename_keys(document, names, deep=True)
    return document


def _with_todays_figures(gate: Any) -> Any:
    if not isinstance(gate, dict) or not isinstance(gate.get("figures"), dict):
        return gate
    return {**gate, "figures": {_figure(name): value for name, value in gate["figures"].items()}}


def _figure(name: str) -> str:
    if match := _QUANTILE.fullmatch(name):
        return f"{match[1]}_{'max' if match[2] == 'p100' else match[2]}_ms"
    return _FIGURES.get(name, name)


def translate_header(columns: Sequence[str]) -> list[str]:
    """The column names of a CSV file under today's names."""
    return [_COLUMNS.get(column, column) for column in columns]


def read_history_file(path: Path, columns: Sequence[str], finish: Finish) -> pd.DataFrame:
    """A sealed file of the history under today's columns; see ``rig.evidence.parquet.read_frame``.

    A request without a connection was ``fail`` once, and is ``not_sent``. Each request had one attempt, without a
    column for it.
    """
    stored = _column_names(path)
    old_names = {} if stored.isdisjoint(_COLUMNS) else {new: old for old, new in _COLUMNS.items()}
    wanted = [column for column in columns if column != "attempt" or not stored or "attempt" in stored]

    def translate_frame(frame: pd.DataFrame) -> pd.DataFrame:
        frame = _translate_frame(frame) if old_names else frame
        return finish(frame if len(wanted) == len(columns) else frame.assign(attempt=1)[list(columns)])

    return read_frame(path, [old_names.get(column, column) for column in wanted], translate_frame)


def _column_names(path: Path) -> frozenset[str]:
    try:
        return frozenset(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return frozenset()  # the reader says what is wrong with it


def _translate_frame(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.rename(columns=_COLUMNS)
    kinds, outcomes = frame["error_kind"].astype(str), frame["outcome"].astype(str)
    outcomes = outcomes.replace(_OUTCOMES).mask(kinds == "connect", "not_sent")
    return frame.assign(error_kind=kinds.replace(_ERROR_KINDS), outcome=outcomes)


def _rename_keys(document: Any, names: Mapping[str, str], *, deep: bool) -> Any:
    if isinstance(document, dict):
        return {
            names.get(key, key): _rename_keys(value, names, deep=True) if deep else value
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [_rename_keys(value, names, deep=deep) for value in document]
    return document
