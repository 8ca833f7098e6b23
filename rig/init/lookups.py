"""Whether an answer is true of the service that runs: its address, and the tables and columns of its database."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from rig.errors import ConfigError, UsageError
from rig.init.questions import list_words
from rig.machine import libpq
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.truth.catalog import Catalog, find_table, read_catalog
from rig.truth.session import connect

_TIMEOUT_S = 2.0
_TABLE_OF = {"canonical-tenant": "canonical-table", "canonical-key": "canonical-table",
             "canonical-correlation": "canonical-table", "dead-tenant": "dead-table",
             "dead-column": "dead-table"}  # fmt: skip


def unreachable(url: str) -> str:
    """Why the service cannot be loaded now; empty where it can. It may be started later, so this is no error."""
    try:
        response = HttpProbe(Endpoint.parse(url).check_and_pin(None), _TIMEOUT_S).connect()
    except ConfigError as error:
        return str(error)
    return "" if response.status == 200 else f"nobody listens at {url} ({response.problem})"


class Lookups:
    """Checks answers. What cannot be looked up is let through: the doctor finds it later."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._catalogs: dict[str, Catalog] = {}

    def check(self, name: str, answer: str, answers: Mapping[str, str]) -> None:
        """UsageError where the answer is not true, with what is."""
        if name == "schemas":
            self._check_schemas(answer, answers)
        elif name in ("canonical-table", "dead-table") and answer:
            self._check_table(name, answer, answers)
        elif name in _TABLE_OF and answer:
            self._check_column(name, answer, answers)

    def schemas(self, answers: Mapping[str, str]) -> list[str]:
        return list(dict.fromkeys(schema for schema, _ in self._tables(answers)))

    def _check_schemas(self, answer: str, answers: Mapping[str, str]) -> None:
        there = self.schemas(answers)
        missing = [schema for schema in list_words(answer) if schema not in there]
        if there and missing:
            raise UsageError(
                f"--schemas: the database has no tables in {missing[0]!r}; it has some in {', '.join(there)}"
            )

    def _check_table(self, name: str, answer: str, answers: Mapping[str, str]) -> None:
        tables = self._tables(answers)
        if tables and self._find(answer, answers) is None:
            schemas = list_words(answers["schemas"])
            known = [table if schema in schemas else f"{schema}.{table}" for schema, table in tables]
            raise UsageError(f"--{name}: the database has no table {answer!r}; it has {', '.join(known[:30])}")

    def _check_column(self, name: str, answer: str, answers: Mapping[str, str]) -> None:
        columns = self._find(answers[_TABLE_OF[name]], answers)
        if columns is not None and answer not in columns:
            raise UsageError(
                f"--{name}: {answers[_TABLE_OF[name]]} has no column {answer!r}; it has {', '.join(columns)}"
            )

    def _find(self, table: str, answers: Mapping[str, str]) -> list[str] | None:
        """The columns of a table, which is named as in a profile."""
        return find_table(self._tables(answers), table, list_words(answers["schemas"]))

    def _tables(self, answers: Mapping[str, str]) -> Catalog:
        dsn = self._environ.get(answers.get("truth-dsn-env", ""), "")
        if dsn and dsn not in self._catalogs:
            try:
                with connect(libpq.complete(dsn, "")) as connection:
                    self._catalogs[dsn] = read_catalog(connection)
            except (psycopg.Error, ConfigError):
                self._catalogs[dsn] = {}
        return self._catalogs.get(dsn, {})
