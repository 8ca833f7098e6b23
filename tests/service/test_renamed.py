"""The same service under other names, from the file that renames all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stub_server.service.config import load_config
from tests.service.conftest import MakeDatabase
from tests.service.running import running_service

FILE = Path(__file__).parents[2] / "scenarios" / "profiles" / "renamed.service.toml"

BODIES: dict[str, dict[str, Any]] = {
    "charge-paid": {
        "charge": {"ref": "c-1", "cents": 1234, "money": "eur", "at": 1_767_225_600, "tags": [{"text": "FB ADS"}]}
    },
    "basket-closed": {
        "basket": 7, "sum": "12.34", "money": "EUR", "closed": "2026-01-01T00:00:00", "campaign": {"origin": "fb"},
    },
    "invoice-settled": {
        "invoice": {
            "number": "i-1", "total": "12.34", "money": "EUR", "settled": "2026-01-01T00:00:00Z", "origin": "facebook",
        }
    },
}  # fmt: skip


def test_renamed_service(make_database: MakeDatabase, tmp_path: Path) -> None:
    config = load_config(FILE)
    database = make_database("renamed", config)
    with running_service(database, tmp_path / "log", options=["--config", str(FILE)]) as service:
        client = service.client
        for route in config.routes:
            answer = client.deliver(route, BODIES[route.name], key=f"k-{route.name}", correlation="trace-1")
            assert (answer.status, answer.outcome) == (200, "accepted")
            assert answer.headers["Acme-Trace"] == "trace-1"
            assert client.deliver(route, BODIES[route.name], key=f"k-{route.name}").outcome == "duplicate"
            assert client.deliver(route, {"email": "canary"}).outcome == "dead_letter"
        assert [client.get(path).status for path in ("/livez", "/readyz", "/internal/metrics")] == [200] * 3
        assert client.get("/v2/self").status == 401
        assert [client.get(path).status for path in ("/health", "/health/ready", "/metrics")] == [404] * 3
    assert database.counts() == (3, 3)
    rows = database.rows("SELECT DISTINCT cents, money, medium, trace FROM hooks.sales")
    assert rows == [(1234, "EUR", "social", "trace-1")]
    assert database.rows("SELECT DISTINCT cause, document::text FROM hooks.set_aside_sales") == [
        ("personal_data", "{}")
    ]
