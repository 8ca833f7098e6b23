from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from rig.errors import ConfigError, ExitCode, UsageError
from rig.evidence.locust_run import MasterAccount
from rig.evidence.pack import Pack
from rig.locust_bridge.coordinator import Coordinator
from rig.locust_bridge.plan import LocustPlan
from rig.profile import bundled_profile
from rig.settings import Settings
from tests.checks.cases import certificate, null_trial
from tests.run.test_reuse import written

SESSION: dict[str, Any] = {
    "profile": str(bundled_profile()), "origin": "--reference", "argv": ["locust"],
}  # fmt: skip
TEST: dict[str, Any] = {
    "do": "begin", "locust": "2.47", "alone": False, "client_pids": [], "master_pid": None, "fixed": None,
    "fixed_class": "", "user_classes": [], "rate_per_user_s": 0.0,
    "users": 1, "workers": 1,
}  # fmt: skip


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    with Coordinator(os.environ) as opened:
        settings = Settings(out=tmp_path, null_seconds=0.1, floor_rps=500, latency_calibration="none", last_look_s=0)
        opened.answer({"do": "open", "settings": settings.document(), **SESSION})
        yield opened


def test_a_test_that_could_not_begin_leaves_the_way_free_for_the_next(coordinator: Coordinator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-route"):
        coordinator.answer({**TEST, "route": "no-such-route"})
    assert coordinator.answer({"do": "look"}) == {}
    first = coordinator.answer({**TEST, "route": ""})
    given_up = coordinator.answer({**TEST, "route": ""})  # the master failed after the first had begun
    assert first["pack"] != given_up["pack"]
    plan = LocustPlan.from_wire(given_up["plan"])
    account = MasterAccount("locust", (), 0, 0, plan.route, plan.tenant, plan.timeout_s, None, ())
    finished = coordinator.answer(
        {"do": "finish", "account": TypeAdapter(MasterAccount).dump_python(account, mode="json")}
    )
    assert finished["exit_code"] == ExitCode.INVALID  # nobody sent anything
    assert Path(finished["pack"]).is_dir()
    with pytest.raises(UsageError, match="no test has begun"):
        coordinator.answer({"do": "finish", "account": TypeAdapter(MasterAccount).dump_python(account, mode="json")})


def test_a_missing_tenant_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    profile = tmp_path / "rig.toml"
    text = bundled_profile().read_text().replace('secret = "', 'secret_env = "S"\nsecret = "')
    tenant = '[[tenants.fixed]]\nid = "one"\napi_key_env = "K"\n'
    profile.write_text(text[: text.index("[tenants]")] + tenant + text[text.index("[[routes]]") :])
    session = SESSION | {"profile": str(profile), "origin": "--profile", "fixed": True}
    with Coordinator({**os.environ, "K": "k", "S": "s"}) as opened, pytest.raises(ConfigError, match=r"S8-1.*no S8"):
        opened.answer({"do": "open", "settings": Settings().document(), **session})


@pytest.mark.full
def test_an_earlier_certificate_is_reused_and_every_test_says_so(tmp_path: Path) -> None:
    # Whatever this machine does, it does at least that.
    slow = null_trial(rps=900.0, client_cpu_us_per_request=900.0, signing_us_per_request=900.0)
    earlier = written(tmp_path / "earlier", certificate(route="stripe", trials=(slow,) * 3, latency_calibration=None))
    with Coordinator(os.environ) as opened:
        settings = Settings(
            out=tmp_path, certificate=str(earlier.path), floor_rps=500, latency_calibration="none", last_look_s=0
        )
        said = opened.answer({"do": "open", "settings": settings.document(), **SESSION})
        pack = Pack.open(Path(opened.answer({**TEST, "route": ""})["pack"]))
    assert said["certificate"]["rps"] == 900
    found = pack.certificate()
    assert found is not None
    assert found.reused is not None
    assert found.reused.pack == earlier.name
    assert pack.manifest().notes[0].startswith(f"the certificate is that of {earlier.name}, 2.0 h old")
