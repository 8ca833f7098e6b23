"""What a profile names in the environment is known before anybody is started who could tell it, in every verb."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

import rig.doctor.surroundings
import rig.verbs.up
from rig.doctor.context import DoctorContext
from rig.doctor.surroundings import database_answers
from rig.errors import Unavailable
from rig.machine.supervisor import Supervisor
from rig.model import RunKey
from rig.profile import Profile, bundled_profile, load_profile
from rig.run.job import Job
from rig.settings import Settings
from rig.target.secrets import BLANK, Secrets
from rig.target.store import Store
from rig.verbs.up import serve

ENVIRON = {
    "SECRET": "chosen-by-the-user-1",
    "KEY": "chosen/by the-user-2",
    "RIG_TRUTH_DSN": "postgresql://owner:chosen-by-the-user-3@127.0.0.1:9/none",
    "RIG_RUNTIME_DSN": "postgresql://service:chosen-by-the-user-4@127.0.0.1:9/none",
}
STORE = Store(
    "postgresql://owner:chosen-by-the-rig-5@127.0.0.1:9/none",
    "postgresql://service:chosen-by-the-rig-6@127.0.0.1:9/none",
    {"server_version": "18", "source": "embedded"},
)
TOLD = f"{ENVIRON} {STORE.truth_dsn} {STORE.runtime_dsn} chosen%2Fby%20the-user-2"


@pytest.fixture
def profile() -> Profile:
    document = load_profile(bundled_profile()).model_dump(mode="json", exclude_unset=True)
    document["routes"][0]["secret_env"] = "SECRET"
    fixed = [{"id": "7", "api_key_env": "KEY"}, {"id": "8", "api_key_env": "NOT_SET"}]
    return Profile.model_validate({**document, "tenants": {"fixed": fixed}})


def test_all_that_a_profile_names_is_known(profile: Profile) -> None:
    known = Secrets()
    known.learn_from(profile, ENVIRON, STORE)
    assert "chosen" not in known.blank(TOLD)
    assert "postgresql://service:" in known.blank(TOLD)  # no more than that
    of_environment = Secrets()
    of_environment.learn_from(profile, ENVIRON)
    assert "chosen" not in of_environment.blank(str(ENVIRON))


def test_what_rig_up_says_of_a_target_that_tells_its_environment(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object) -> Any:
        raise Unavailable(TOLD)

    monkeypatch.setattr(rig.verbs.up, "open_store", lambda *_: nullcontext(STORE))
    monkeypatch.setattr(rig.verbs.up, "open_target", dying)
    with pytest.raises(Unavailable) as caught:
        serve(Job("up", (), Settings(out=tmp_path), profile, tmp_path), ENVIRON)
    assert "chosen" not in str(caught.value)
    assert BLANK in str(caught.value)


def test_what_rig_doctor_says_of_one(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.doctor.surroundings, "open_store", lambda *_: nullcontext(STORE))
    with Supervisor() as supervisor, ExitStack() as stack:
        context = DoctorContext(tmp_path, Settings(), ENVIRON, supervisor, stack, tmp_path, RunKey(1, "0" * 12, 0))
        context.profile = profile
        database_answers(context)
    assert "chosen" not in context.secrets.blank(TOLD)
