"""The configuration: defaults are the contract, and what is wrong is named in one line."""

import pickle
import tomllib
from pathlib import Path

import pytest

from stub_server.service.config import Config, load_config, required_variable
from stub_server.service.errors import ServiceConfigError

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"


def test_the_reference_file_changes_no_name() -> None:
    config = load_config(PROFILES / "reference.service.toml")
    assert config.model_copy(update={"database": Config().database}) == Config()
    assert config.database.tenant_setting == "app.current_tenant_id"


def test_the_renamed_file_renames_everything() -> None:
    renamed = tomllib.loads((PROFILES / "renamed.service.toml").read_text())
    reference = Config().model_dump()
    for section in ("headers", "probes"):
        for name, value in reference[section].items():
            assert renamed[section][name] != value
    for table, names in reference["tables"].items():
        assert set(renamed["tables"][table]) == set(names)
        for name, value in names.items():
            assert renamed["tables"][table][name] != value
    ours, theirs = Config(), load_config(PROFILES / "renamed.service.toml")
    for get in ("name", "vendor", "path", "signature_header", "secret"):
        assert not {getattr(r, get) for r in ours.routes} & {getattr(r, get) for r in theirs.routes}


def test_it_can_be_handed_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(Config())) == Config()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = ", "not valid TOML"),
        ("[headers]\ntenant = 'X'", "headers.tenant"),
        ("[headers]\ntenant_key = 'X Y'", "headers.tenant_key"),
        ("[probes]\nhealth = 'health'", "probes.health"),
        ("[probes]\nhealth = '/metrics'", "/metrics is used twice"),
        ("[database]\npool_min = 9\npool_max = 3", "pool_min 9 is above pool_max 3"),
        ("[database]\ntenant_setting = 'x; drop'", "database.tenant_setting"),
        ("[tables.dead]\nname = ''", "tables.dead.name"),
        ("routes = []", "routes"),
        ("[[routes]]\nname = 'x'", "routes.0.vendor"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "service.toml"
    file.write_text(text)
    with pytest.raises(ServiceConfigError) as caught:
        load_config(file)
    assert complaint in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ServiceConfigError, match="DATABASE_URL is not set"):
        required_variable("DATABASE_URL", "an address", {"DATABASE_URL": ""})
