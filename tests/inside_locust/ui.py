"""The web UI's part of the master. ``tests/locust/test_inside.py`` runs this."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from flask import Flask

from rig.locust_bridge import master_ui


def test_the_master_goes_on_while_a_pack_is_zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers would take one that is silent for ten seconds for dead."""
    pack = tmp_path / "a-pack"
    (pack / "history").mkdir(parents=True)
    (pack / "history" / "rows").write_bytes(b"rows")
    went_on = threading.Event()
    waited: list[bool] = []

    class Zip(zipfile.ZipFile):
        def write(self, *words: Any, **named: Any) -> None:
            waited.append(went_on.wait(20))
            super().write(*words, **named)

    monkeypatch.setattr(master_ui.zipfile, "ZipFile", Zip)
    gevent.spawn(went_on.set)
    bridge: Any = SimpleNamespace(results=[{"pack": str(pack)}])
    with Flask("test").test_request_context():
        answer = master_ui.View(bridge).pack()
        answer.direct_passthrough = False
        body = answer.get_data()
    assert waited == [True]
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.read("a-pack/history/rows") == b"rows"
