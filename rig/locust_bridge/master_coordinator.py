"""The master's line to the coordinator's process (``rig.locust_bridge.coordinator``): questions and answers in JSON.

Everything that must not happen in locust's patched process happens at the other end of it.
"""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

from rig.errors import ExitCode
from rig.machine.child import python_module, start_with_pipes

_log = logging.getLogger("rig")


class CoordinatorError(Exception):
    """The coordinator refused; ``exit_code`` is how the process should end."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class CoordinatorClient:
    """Starts the coordinator and asks it. It ends when its standard input closes, so also when this process dies."""

    def __init__(self) -> None:
        self._process = start_with_pipes(python_module("rig.locust_bridge.coordinator"))
        self._lock = threading.Lock()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """One question, one answer; CoordinatorError when it is an error or there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except OSError as error:
                line = ""
                _log.error("coordinator: %s", error)
        if not line:
            raise CoordinatorError("the coordinator's process is gone", ExitCode.INTERNAL)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CoordinatorError(answer["error"], answer["exit_code"])
        return answer

    @property
    def busy(self) -> bool:
        """True while a question is being answered."""
        return self._lock.locked()

    def close(self) -> None:
        """End it, and all that it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
