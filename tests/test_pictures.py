"""The pictures of the documents are there, and small. ``make pictures`` makes them anew."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
_SHOWN = re.compile(r"!\[[^\]]+\]\(([^)]+\.png)\)")
_BYTES_MOST = 600_000


def test_every_picture_is_shown_and_every_shown_one_is_there() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        (document.parent / name).resolve() for document in documents for name in _SHOWN.findall(document.read_text())
    }
    assert all(picture.is_file() for picture in shown)
    assert shown >= set(PICTURES.glob("*.png"))
    assert sum(picture.stat().st_size for picture in PICTURES.glob("*.png")) < _BYTES_MOST
