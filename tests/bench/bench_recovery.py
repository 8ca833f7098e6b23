"""Whether the recovery times in the table of a chaos are true: an independent prober sees the same ones.

The prober goes through the relay that the sender goes through, and sends what the sender sends: where the service
answers one kind of request before another, only the same kind has the same recovery. It sends one event of a tenant of
its own again and again. Both say when the first good answer to what was sent after a healing came, and from when on
nearly all of it was answered well again. Keep the machine quiet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import subprocess
import sys
import uuid
from pathlib import Path

import click
import numpy as np
import psutil
import psycopg
import pytest
from numpy.typing import NDArray

from rig.checks.aftermath import aftermaths
from rig.evidence.pack import Pack
from rig.machine.processes import words
from tests.cli.commands import QUICK, Going, only_pack

FAULTS = (
    "service-killed", "service-stopped", "deploy", "database-killed", "database-restarted", "database-held",
    "database-cut", "slots-taken", "sender-cut", "sender-held",
)  # fmt: skip
"""Those of which readiness and events suffer alike."""
AGREE_S = 0.05
_SPAN_NS, _STEP_NS = 250_000_000, 5_000_000
_SHARE = 0.9


@pytest.mark.bench
def bench_an_independent_prober_sees_the_same_recovery(tmp_path: Path) -> None:
    probes, pack = _run_chaos(tmp_path)
    begun_ns, ended_ns, status = probes.T
    differences = []
    chaos = pack.chaos()
    assert chaos is not None
    usual = _count_usual(ended_ns, chaos.struck[0].strike_begun_ns)
    for found in aftermaths(pack.load()):
        healed_ns = found.record.healed_ns
        is_after, is_good = begun_ns > healed_ns, status == 200
        good_after_ns = ended_ns[is_after & is_good]
        first_ns = int(good_after_ns.min()) if len(good_after_ns) else None
        # What was held back is answered at last, too: that counts from the first answer to something newer on.
        counted = is_good | is_after
        back_ns = _find_recovery(ended_ns[counted], is_good[counted], first_ns, usual)
        first_s, back_s = (math.nan if at is None else (at - healed_ns) / 1e9 for at in (first_ns, back_ns))
        differences += [found.first_good_s - first_s, found.back_s - back_s]
        click.echo(
            f"{found.record.fault:20} good again {found.first_good_s:.3f} s, prober {first_s:.3f} s; "
            f"at rate again {found.back_s:.3f} s, prober {back_s:.3f} s"
        )
    assert len(differences) >= len(FAULTS), "most faults struck"
    assert max(map(abs, differences)) <= AGREE_S


def _count_usual(ended_ns: NDArray[np.int64], until_ns: int) -> float:
    """How many answers come within a quarter of a second while nothing is broken."""
    return float(np.sum(ended_ns < until_ns)) / ((until_ns - int(ended_ns.min())) / _SPAN_NS)


def _find_recovery(
    ended_ns: NDArray[np.int64], is_good: NDArray[np.bool_], first_ns: int | None, usual: float
) -> int | None:
    """From when on nearly as many answers come as usual, and nearly all are good."""
    for since_ns in range(first_ns, int(ended_ns.max()) - _SPAN_NS, _STEP_NS) if first_ns is not None else ():
        answers = is_good[(ended_ns >= since_ns) & (ended_ns < since_ns + _SPAN_NS)]
        if answers.sum() >= _SHARE * max(usual, len(answers)):
            return since_ns
    return None


def _run_chaos(results: Path) -> tuple[NDArray[np.int64], Pack]:
    """Rows of begin, end and status, one a probe; and the pack of a chaos of one minute."""
    chaos = Going(["chaos", "--reference", "--only", ",".join(FAULTS), *QUICK, "--json", "--out", str(results)])
    chaos.wait_for("S11")
    children = psutil.Process(chaos.process.pid).children()
    relays = [each for each in children if "rig.target.relaying" in words(each)]
    to_service = min(relays, key=psutil.Process.create_time)
    (port,) = {each.laddr.port for each in to_service.net_connections("tcp4") if each.status == psutil.CONN_LISTEN}
    (service,) = (each for each in children if "stub_server.service" in words(each))
    request = results / "request.txt"
    request.write_bytes(_make_request(service.environ()["MIGRATION_DATABASE_URL"]))
    with request.open("rb") as sent, (results / "probes.txt").open("w+") as probes:
        prober = subprocess.Popen([sys.executable, "-m", "tests.bench.prober", str(port)], stdin=sent, stdout=probes)
        try:
            ended = chaos.end()
        finally:
            prober.terminate()
            prober.wait()
        missed = [gate for gate in ended.document()["gates"] if gate["verdict"] in ("FAIL", "INVALID")]
        assert ended.code == 0, missed
        probes.seek(0)
        return np.loadtxt(probes, dtype=np.int64), Pack.open(only_pack(results))


def _make_request(admin_dsn: str) -> bytes:
    """Makes a tenant and gives the request with its event, signed: head and body."""
    key, secret = "the prober's", b"the prober's secret"
    with psycopg.connect(admin_dsn) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, name, api_key_sha256, webhook_secrets) VALUES (%s, 'prober', %s, %s)",
            (uuid.uuid4(), hashlib.sha256(key.encode()).hexdigest(), json.dumps({"paypal": secret.decode()})),
        )
    amount = {"total": "12.34", "currency": "USD"}
    resource = {"id": "S1", "amount": amount, "custom": "email"}
    body = json.dumps(
        {
            "id": "WH-1",
            "event_type": "PAYMENT.SALE.COMPLETED",
            "create_time": "2026-01-01T00:00:00Z",
            "resource": resource,
        }
    ).encode()
    head = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Tenant-Key": key,
        "X-Idempotency-Key": "probe-1",
        "X-Correlation-ID": "probe-1",
        "PayPal-Transmission-Sig": hmac.digest(secret, body, "sha256").hex(),
    }
    lines = ["POST /api/webhooks/paypal/sale_completed HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join((*lines, "", "")).encode() + body
