"""The verifier beside an event loop, and its import: what ``fleet_jwks`` promises to a service that adopts it.

A step of ``await verify(token)`` is what the loop's thread does before it gives control back. Its CPU time is what
holds the loop; time in which other programs had the core is no fault of the verifier. The import is compared with that
of the JOSE library, without which nothing can be verified.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import click
import pytest

from fleet_jwks import JwksSettings, Refused, Verifier
from fleet_jwks.asynchronous import AsyncVerifier
from fleet_jwks.store import create_schema
from rig.storms.unknown_kid.keyring import AUDIENCE, ISSUER, unknown_token
from rig.target.postgres import Database
from tests.fleet_jwks.conftest import FETCH, KNOWN

pytestmark = pytest.mark.bench
TOKENS = 2000
STEP_LIMIT_MS = 1.0
IMPORT_RATIO = 1.25
JOSE = "import joserfc.jwk, joserfc.jws, joserfc.jwt"


class Stepped:
    """An awaitable that notes how much CPU time each of its steps took, ms."""

    def __init__(self, call: Any, steps_ms: list[float]) -> None:
        self._call = call
        self._steps_ms = steps_ms

    def __await__(self) -> Generator[Any, Any, Any]:
        steps, sent = self._call.__await__(), None
        while True:
            began_ns = time.thread_time_ns()
            try:
                waited_for = steps.send(sent)
            except StopIteration as end:
                return end.value
            finally:
                self._steps_ms.append((time.thread_time_ns() - began_ns) / 1e6)
            sent = yield waited_for


@pytest.mark.parametrize("kind", ["known", "unknown", "100 kB"])
async def test_no_step_of_a_verification_holds_the_loop_for_a_millisecond(database: Database, kind: str) -> None:
    create_schema(database.admin_dsn, database.runtime_role)
    settings = JwksSettings(
        dsn=database.runtime_dsn, fetch=FETCH, issuer=ISSUER, audience=AUDIENCE, cool_down_s=0.01, wait_timeout_s=1.0
    )
    verify = AsyncVerifier(Verifier(settings), 5.0)
    await verify(KNOWN[0])
    steps_ms: list[float] = []
    for number in range(TOKENS):
        token = KNOWN[number % 3] if kind == "known" else unknown_token("EdDSA")
        token += "x" * 100_000 if kind == "100 kB" else ""
        with suppress(Refused):
            await Stepped(verify(token), steps_ms)
    verify.close()
    longest_ms = sorted(steps_ms)[-1 - len(steps_ms) // 1000]
    click.echo(
        f"\n{kind}: {len(steps_ms)} steps, median {statistics.median(steps_ms):.3f} ms, 99.9 % {longest_ms:.3f} ms"
    )
    assert longest_ms < STEP_LIMIT_MS


def test_the_import_costs_little_more_than_that_of_the_jose_library() -> None:
    bare, jose, ours = (min(_cpu_ms(code) for _ in range(7)) for code in ("pass", JOSE, "import fleet_jwks"))
    click.echo(f"\nimport fleet_jwks {ours - bare:.0f} ms of CPU, of it the JOSE library {jose - bare:.0f} ms")
    assert (ours - bare) / (jose - bare) < IMPORT_RATIO


def _cpu_ms(code: str) -> float:
    """CPU time of a Python process that runs this, ms."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3
