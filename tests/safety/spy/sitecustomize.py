"""Put on the path of a run's processes: writes down every secret that they draw, so that a test can look for it.

Python imports it at the start of each process. What is drawn for the rig's own bookkeeping (the token of a run, which
every process of it carries on purpose) is left out.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

_BOOK = os.environ.get("SPY_BOOK", "")
_NO_SECRETS = ("rig.machine.supervisor", "tempfile", "multiprocessing")


def _spied(draw: Any) -> Any:
    def drawn(*arguments: Any) -> Any:
        value = draw(*arguments)
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not caller.startswith(_NO_SECRETS):
            with Path(_BOOK).open("a") as book:
                book.write(f"{caller} {value}\n")
        return value

    return drawn


if _BOOK:
    for _name in ("token_hex", "token_urlsafe"):
        setattr(secrets, _name, _spied(getattr(secrets, _name)))
