"""``--certificate``: which packs have a certificate to give, and what becomes of one that does not hold here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from rig.calibrate.client import CalibratedClient
from rig.calibrate.fingerprint import fingerprint
from rig.checks.reuse import LONGEST_H
from rig.cli.main import main
from rig.engine.pool import Pool
from rig.errors import EvidenceError, ExitCode
from rig.evidence.certificate import Certificate, Reuse
from rig.evidence.manifest import Manifest
from rig.evidence.pack import CERTIFICATE, Pack
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.run import reuse
from rig.run.reuse import EarlierCertificate, read_earlier, reuse_certificate
from rig.settings import Settings
from tests.checks.cases import certificate, latency_step, null_trial
from tests.cli.commands import only_pack, rig

PROFILE = load_profile(bundled_profile())
HERE = fingerprint({})
GOOD = certificate(route="stripe")
KEY = RunKey(seed=1, run_id="reuse-test", started_unix=1_800_000_000)
SETTINGS = Settings()


def written(folder: Path, found: Certificate | None = GOOD, *, age_h: float = 2.0, **facts: Any) -> Pack:
    """A finished pack with a certificate; ``facts`` change its fingerprint."""
    started = datetime.now(UTC) - timedelta(hours=age_h)
    pack = Pack.create(folder, "calibrate", 1, started)
    pack.write_manifest(
        Manifest(
            verb="calibrate",
            argv=(),
            seed=1,
            started_utc=started,
            epoch_monotonic_ns=1,
            settings=SETTINGS.document(),
            profile=PROFILE.model_dump(mode="json"),
            fingerprint={**HERE, **facts},
        )
    )
    if found is not None:
        pack.write_certificate(found)
    pack.seal()
    return pack


def checked(reused: Reuse, **trial: Any) -> Reuse:
    """What a spot check that agrees has found; ``trial`` changes it."""
    return replace(reused, trial=null_trial(**trial), step=latency_step(2000.0))


def reused_by(
    earlier: EarlierCertificate, tmp_path: Path, settings: Settings = SETTINGS
) -> tuple[Certificate | None, str]:
    pool = cast(Pool, None)  # the spot check is not made for real
    client = CalibratedClient(pool, PROFILE, KEY, tmp_path / "calibration")
    return reuse_certificate(earlier, client, settings=settings, fingerprint=HERE, routes=["stripe"])


@pytest.fixture
def spot_check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have the spot check find this; the routes of those that were made."""
    made: list[str] = []

    def seed(**trial: Any) -> list[str]:
        def check(client: CalibratedClient, found: Certificate, reused: Reuse) -> Reuse:
            made.append(found.route)
            return checked(reused, **trial)

        monkeypatch.setattr(reuse, "spot_check", check)
        return made

    return seed


def test_an_unchanged_machine_reuses_a_certificate(tmp_path: Path, spot_check: Callable[..., list[str]]) -> None:
    made, pack = spot_check(rps=29_000.0), written(tmp_path)
    found, words = reused_by(read_earlier(pack.path), tmp_path, Settings(floor_rps=1500))
    assert found is not None
    assert found.reused is not None
    assert (found.trials, found.latency_calibration, found.floor_rps) == (GOOD.trials, GOOD.latency_calibration, 1500)
    assert (found.reused.pack, found.reused.age_h) == (pack.name, pytest.approx(2.0, abs=0.1))
    assert found.reused.digest == pack.require_intact()
    assert made == ["stripe"]
    assert words == (
        f"the certificate is that of {pack.name}, 2.0 h old; the spot check agrees: 29,000 requests/s, "
        "15.0 µs of CPU a request, latencies exact to 0.2 ms at 2,000/s"
    )


def test_a_pack_that_reused_one_gives_the_age_and_the_machine_of_the_first(tmp_path: Path) -> None:
    first = read_earlier(written(tmp_path / "first", age_h=20.0, kernel="old").path).reused
    second = written(tmp_path / "second", replace(GOOD, reused=checked(first)), age_h=0.0)
    found = read_earlier(second.path).reused
    assert found.age_h == pytest.approx(20.0, abs=0.1)
    assert (found.pack, found.conditions, found.trial) == (first.pack, first.conditions, None)


@pytest.mark.parametrize(
    ("pack", "settings", "says"),
    [
        ({"age_h": LONGEST_H + 1}, {}, "it is 25.0 h old, and holds for 24 h"),
        ({"boot_id": "another"}, {}, "the start of the machine is another"),
        ({"code_sha256": "another"}, {}, "the code of the rig is another"),
        ({}, {"workers": 2}, "the number of workers is another: 2, was 1"),
        ({}, {"null_seconds": 5.0}, "its trials lasted 2.5 s, and 5 s are asked for"),
        ({}, {"latency_calibration": "full"}, "the full one is asked for"),
        ({"found": replace(GOOD, latency_calibration=None)}, {}, "it has no latency calibration"),
        ({"found": replace(GOOD, trials=GOOD.trials[:1])}, {}, "it rests on 1 trials, and 3 are asked for"),
        ({"found": replace(GOOD, route="other")}, {}, "the sender of route other"),
    ],
)
def test_what_has_changed_is_named_before_anything_is_measured(
    pack: dict[str, Any],
    settings: dict[str, Any],
    says: str,
    tmp_path: Path,
    spot_check: Callable[..., list[str]],
) -> None:
    made = spot_check()
    found, words = reused_by(read_earlier(written(tmp_path, **pack).path), tmp_path, Settings(**settings))
    assert found is None
    assert words.startswith("the client is certified anew: the certificate of ")
    assert says in words
    assert made == []


@pytest.mark.parametrize(
    ("found", "trial", "settings", "says"),
    [
        (GOOD, {"rps": 15_000.0}, {}, "the spot check reached 15,000 requests/s"),
        (GOOD, {}, {"floor_rps": 40_000}, "-bound: "),
        (replace(GOOD, trials=(null_trial(failures=3),) * 3), {}, {}, "9 of 225,000 requests"),
        (
            certificate(route="stripe", latency_calibration=replace(GOOD.latency_calibration, steps=())),  # type: ignore[type-var]
            {},
            {},
            "no rate is covered",
        ),
    ],
)
def test_a_certificate_that_does_not_pass_here_is_not_reused(
    found: Certificate,
    trial: dict[str, Any],
    settings: dict[str, Any],
    says: str,
    tmp_path: Path,
    spot_check: Callable[..., list[str]],
) -> None:
    spot_check(**trial)
    reused, words = reused_by(read_earlier(written(tmp_path, found).path), tmp_path, Settings(**settings))
    assert reused is None
    assert says in words


def damaged(folder: Path) -> Path:
    pack = written(folder)
    (pack.path / CERTIFICATE).write_bytes((pack.path / CERTIFICATE).read_bytes().replace(b"30000", b"90000"))
    return pack.path


def unfinished(folder: Path) -> Path:
    return Pack.create(folder, "run", 1, datetime.now(UTC)).path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "nowhere", "is no evidence pack: it has no manifest.json"),
        (lambda folder: written(folder, None).path, "holds no certificate; give the pack of a run, or that of rig cal"),
        (damaged, "was changed: "),
        (unfinished, "is no evidence pack"),
    ],
)
def test_a_pack_that_has_none_to_give_ends_in_3_before_anything_begins(
    make: Callable[[Path], Path], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "earlier")
    with pytest.raises(EvidenceError, match=says):
        read_earlier(path)
    words = ["ladder", "--reference", "--certificate", str(path), "--out", str(tmp_path / "results")]
    assert main(words) == ExitCode.INVALID
    assert says in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.full
def test_a_run_with_an_earlier_certificate_and_one_that_certifies_anew(tmp_path: Path) -> None:
    # This machine is faster, whoever else is at work.
    slow = null_trial(rps=2500.0, client_cpu_us_per_request=900.0, signing_us_per_request=900.0)
    earlier = written(tmp_path / "a", replace(GOOD, trials=(slow,) * 3, latency_calibration=None))
    short = ("--no-latency-calibration", "--null-seconds", "0.5", "--no-samplers", "--last-look", "0", "--json")
    load = ("perf", "--reference", "-n", "200", "--trials", "1", "--max-seconds", "60", *short)
    named = ("--certificate", str(earlier.path))
    ended = rig(*load, *named, "--out", str(tmp_path / "b"))
    assert ended.code == ExitCode.PASS, ended.err
    pack = Pack.open(only_pack(tmp_path / "b"))
    found = pack.certificate()
    assert found is not None
    assert found.reused is not None
    assert found.reused.trial is not None
    assert (found.trials, found.reused.pack) == ((slow,) * 3, earlier.name)
    assert rig("check", str(pack.path)).code == ExitCode.PASS
    anew = rig(*load, *named, "--workers", "2", "--out", str(tmp_path / "c"))
    assert anew.code == ExitCode.PASS, anew.err
    assert "the client is certified anew: the certificate of" in anew.err
    found = Pack.open(only_pack(tmp_path / "c")).certificate()
    assert found is not None
    assert found.reused is None
