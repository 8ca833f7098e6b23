"""A service that stores the fields of an event in columns of all types, for the tests of content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from psycopg import Connection, sql

from rig.evidence.truth import TruthReport
from rig.model import Outcome, Row, RunKey, Scenario, Tenant
from rig.profile import Profile
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from rig.target.postgres import Database
from rig.truth.expected import RunOutcomes, SentRequests
from rig.truth.reader import TruthReader
from rig.truth.reconcile import Baseline
from tests.profiles import handmade
from tests.truth.world import scenario

TENANTS = (Tenant("A", "ten'ant-a"), Tenant("B", "tenant-b"))
BODY = {
    "id": "evt_<event>",
    "created": "<unix>",
    "at": "<iso>",
    "ms": "<unix_ms>",
    "data": {
        "amount": "<amount>",
        "total": "<decimal>",
        "currency": "usd",
        "name": "Zoë Ångström ﬁ",
        "ratio": 10,
        "list": [1, "two", None, True],
        "quote": 'say "<key>" 100% \\ %s %1$s',
        "empty": "",
        "nothing": None,
        "long": "a" * 40,
        "other": {"a": "x", "b": "y"},
    },
    "source": "<source>",
}
TEXT = json.dumps(BODY, ensure_ascii=False)
for slot in ("unix", "unix_ms", "amount"):
    TEXT = TEXT.replace(f'"<{slot}>"', f"<{slot}>")
FIELDS: dict[str, dict[str, Any]] = {
    "reference": {"path": "id"},
    "amount": {"path": "data.amount", "type": "integer"},
    "total": {"path": "data.total", "type": "decimal"},
    "cents": {"path": "data.total", "type": "cents"},
    "units": {"path": "data.amount", "type": "cents"},
    "currency": {"path": "data.currency"},
    "name": {"path": "data.name"},
    "at": {"path": "created", "type": "unix"},
    "at_naive": {"path": "at", "type": "iso"},
    "at_ms": {"path": "ms", "type": "unix"},
    "at_text": {"path": "at", "type": "iso"},
    "at_number": {"path": "created", "type": "unix"},
    "source": {"path": "source"},
    "vendor": {"constant": "stripe"},
    "nothing": {"path": "data.nothing"},
    "empty": {"path": "data.empty"},
    "payload": {"type": "json"},
    "payload_text": {"type": "json"},
    "part": {"path": "data.other", "type": "json-contains"},
    "amount_text": {"path": "data.amount", "type": "integer"},
    "own_key": {"path": "<key>"},
}
TABLE = """
CREATE TABLE events (tenant text, key text, reference text, amount bigint, total numeric, cents int,
    units numeric(12, 2), currency varchar(3), name text, at timestamptz, at_naive timestamp, at_ms timestamptz,
    at_text text, at_number bigint,
    source text, vendor text, nothing text, empty text, payload jsonb, payload_text text, part jsonb, amount_text text,
    own_key uuid, extra text);
CREATE TABLE letters (tenant text, key text, payload jsonb);
"""


def described(columns: dict[str, Any] = FIELDS, **route: Any) -> Profile:
    canonical = {"table": "events", "tenant": "tenant", "key": "key", "fields": columns}
    dead = {
        "table": "letters",
        "tenant": "tenant",
        "match": "key",
        "column": "key",
        "fields": {"payload": {"type": "json"}},
    }
    personal = [{"at": "data.email", "kind": "email"}, {"at": "buyer.contact.phone", "kind": "phone"}]
    plain = {"body": TEXT, "malformed": [{"remove": "data"}, {"set": "id", "to": 5}], "personal": personal}
    return handmade({"canonical": canonical, "dead": dead, "quiesce_timeout_s": 5}, **(plain | route))


@dataclass
class Intake:
    """A table by hand, with the rows of a perfect service."""

    database: Database
    connection: Connection[Any]
    profile: Profile = field(default_factory=described)
    scenario_runs: list[RunOutcomes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.targeter = Targeter(self.profile, RunKey(7, "run-1", 1_700_000_000))
        self.credentials = {each.name: Credentials(each.name, {"orders": "s3cret"}, each.id) for each in TENANTS}

    def send(self, sent: Scenario, outcome: Outcome = Outcome.ACKNOWLEDGED) -> None:
        self.scenario_runs.append(RunOutcomes(sent, np.full(sent.count, outcome.code, dtype=np.uint8)))

    def store(self) -> None:
        """The row of every request, from its body as it is sent."""
        stored = set()
        for outcomes in self.scenario_runs:
            targets = self.targeter.bind(outcomes.scenario, self.credentials)
            for seq in range(outcomes.scenario.count):
                expected = targets.expect(seq)
                if expected.row is Row.NONE or (expected.tenant, expected.key) in stored:
                    continue
                stored.add((expected.tenant, expected.key))
                body = targets.body(seq, 1_700_000_500).decode()
                owner = next(tenant.id for tenant in TENANTS if tenant.name == expected.tenant)
                if expected.row is Row.CANONICAL:
                    self.insert("events", {"tenant": owner, "key": expected.key} | self.row(expected.key, body))
                else:
                    self.insert("letters", {"tenant": owner, "key": expected.key, "payload": scrubbed(body)})

    def row(self, key: str, body: str) -> dict[str, Any]:
        event = json.loads(body)
        data = event["data"]
        return {
            "reference": event["id"],
            "amount": data["amount"],
            "total": data["total"],
            "cents": int(data["total"].replace(".", "")),
            "units": data["total"],
            "currency": data["currency"],
            "name": data["name"],
            "at": sql.SQL("to_timestamp({})").format(event["created"]),
            "at_naive": event["at"],
            "at_ms": sql.SQL("to_timestamp({}::numeric / 1000)").format(event["ms"]),
            "at_text": event["at"],
            "at_number": event["created"],
            "source": event["source"],
            "vendor": "stripe",
            "empty": "",
            "payload": body,
            "payload_text": body,
            "part": json.dumps(data["other"]),
            "amount_text": str(data["amount"]),
            "own_key": key,
        }

    def insert(self, table: str, row: dict[str, Any]) -> None:
        values = [value if isinstance(value, sql.Composable) else sql.Literal(value) for value in row.values()]
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(values)
        )
        self.connection.execute(query)

    def execute(self, statement: str, *values: object) -> None:
        self.connection.execute(statement.encode(), values or None)

    @property
    def sent(self) -> SentRequests:
        return self.sent_to(TENANTS)

    def sent_to(self, tenants: Sequence[Tenant]) -> SentRequests:
        return SentRequests(self.targeter, self.scenario_runs, tenants)

    def read(self) -> TruthReport:
        reader = TruthReader(self.profile, self.database.admin_dsn)
        return reader.read(self.sent, Baseline({}, {}))

    def preflight(self) -> None:
        reader = TruthReader(self.profile, self.database.admin_dsn)
        reader.preflight(self.targeter, [scenario()], TENANTS, None)


def scrubbed(body: str) -> str:
    try:
        event = json.loads(body)
    except ValueError:
        return json.dumps({"bytes": len(body)})
    event.get("data", {}).pop("email", None)
    event.get("buyer", {}).get("contact", {}).pop("phone", None)
    return json.dumps(event)
