"""`rig init --sender`: every preset gives a profile that loads, and the list names them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.init.senders import table
from rig.profile import load_profile
from rig.profile.routes import sender_names
from tests.cli.commands import rig


@pytest.mark.parametrize("sender", ["stripe", "github", "slack-command", "telegram", "sendgrid", "xero"])
def test_a_sender_needs_no_event(tmp_path: Path, sender: str) -> None:
    ended = rig("init", "mine.toml", "--yes", "--sender", sender, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert load_profile(tmp_path / "mine.toml").routes[0].sender == sender


def test_the_prefix_of_an_id_stays_and_is_taken_off_the_column(tmp_path: Path) -> None:
    options = ("--sender", "stripe", "--canonical-key", "id", "--canonical-table", "order")
    rig("init", "mine.toml", "--yes", *options, folder=tmp_path)
    profile = load_profile(tmp_path / "mine.toml")
    assert '"id": "evt_<key>"' in profile.routes[0].body
    assert profile.truth.canonical.sql == 'SELECT substr(t."id"::text, 5) AS rig_key, t.* FROM "order" AS t'


def test_the_list_names_every_sender() -> None:
    assert [line.split()[0] for line in table().splitlines()[1:]] == list(sender_names())
