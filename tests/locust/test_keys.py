"""The key of a master's workers: where it lies, and who may have written it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import UsageError
from rig.locust_bridge.keys import MasterKeys, key_file, read_key, write_key


def test_a_key_is_written_where_only_its_user_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "key"
    assert read_key(file) == ""
    for key in ("first", "second"):
        write_key(file, key)
        assert read_key(file) == key
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("readable", ["folder", "folder/key"])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, readable: str) -> None:
    write_key(tmp_path / "folder" / "key", "a key")
    (tmp_path / readable).chmod(0o777)
    with pytest.raises(UsageError, match="may be read or written by others"):
        read_key(tmp_path / "folder" / "key")


def test_a_folder_that_somebody_else_put_there_first_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="may be read or written by others"):
        write_key(tmp_path / "folder" / "key", "a key")
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="may be read or written by others"):
        write_key(tmp_path / "open" / "key", "a key")


def test_the_keys_of_a_master_leave_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_WORKER_KEY", "a key")
    monkeypatch.setenv("RIG_WEB_TOKEN", "a token")
    taken = MasterKeys.take()
    assert (taken.worker, taken.web_token, taken.worker_given) == ("a key", "a token", True)
    assert "a key" not in repr(taken)
    again = MasterKeys.take()
    assert (again.web_token, again.worker_given) == ("", False)
    assert len(again.worker) > 40


def test_each_port_has_a_key_of_its_own() -> None:
    assert key_file(1).parent != key_file(2).parent
