"""A headless Chromium, driven over its DevTools protocol: as much of a browser as the tests of the web UI need."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,1000",
    "--remote-debugging-port=0",
)  # fmt: skip
_START_S = 30.0
_POLL_S = 0.1


class NavigatedError(AssertionError):
    """The document was left while it was asked something."""


class Page:
    """One page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol; AssertionError when the browser refuses it."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("id") == self._number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise NavigatedError(answer)
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser is gone")

    async def open(self, url: str) -> None:
        """Go to an address."""
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def _evaluate_now(self, script: str) -> Any:
        """The value of an expression; None where the page was left meanwhile, as after a click on a link."""
        try:
            return await self.evaluate(script)
        except NavigatedError:
            return None

    async def until(self, script: str, timeout_s: float = 30.0) -> Any:
        """Poll an expression until it is true; its value."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not (
            value := await self._evaluate_now(f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()")
        ):
            if asyncio.get_running_loop().time() > deadline:
                text = await self.evaluate("document.body.innerText")
                raise AssertionError(f"{script} never came true; the page says: {text[:2000]}")
            await asyncio.sleep(_POLL_S)
        return value

    async def answered(self, path: str) -> None:
        """Wait until the page has had its answer to a first question for ``path``."""
        entries = "performance.getEntriesByType('resource')"
        await self.until(f"{entries}.some(e => new URL(e.name).pathname === {json.dumps(path)} && e.responseEnd > 0)")

    async def click(self, text: str) -> None:
        """Click the button, tab or link with this text."""
        found = (
            "[...document.querySelectorAll('button, a, [role=tab]')]"
            f".find(e => e.innerText.trim().toLowerCase() === {json.dumps(text.lower())})"
        )
        await self.until(f"!!{found}")
        await self.evaluate(f"{found}.click()")

    async def submit(self, **fields: object) -> None:
        """Fill the inputs of the form that is open, by name, and send it."""
        first = f"document.querySelector('input[name={next(iter(fields))}]')"
        await self.until(f"!!{first}")
        for name, value in fields.items():
            filled = f"{first}.form.elements[{json.dumps(name)}].value = {json.dumps(str(value))}"
            await self.evaluate(filled)
        await self.evaluate(f"{first}.form.querySelector('[type=submit]').click()")

    async def resize(self, width: int, height: int) -> None:
        """Show the page in a window of this size, pixels; a narrow one as a telephone does."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def screenshot(self) -> bytes:
        """A picture (PNG) of the window."""
        shot = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])


@contextlib.asynccontextmanager
async def browser(*flags: str) -> AsyncIterator[Page]:
    """A page of a fresh browser; both are gone afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="rig-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(  # noqa: ASYNC220  # nothing else runs on this loop
            [CHROMIUM, *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            env={**os.environ, "TMPDIR": profile},  # it leaves folders behind
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    target = next(each for each in await answer.json() if each["type"] == "page")
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield Page(socket)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _port(file: Path) -> int:
    """The port that the browser chose, once it has written it down."""
    deadline = asyncio.get_running_loop().time() + _START_S
    while not (said := _said(file)):
        assert asyncio.get_running_loop().time() < deadline, "Chromium did not start"
        await asyncio.sleep(_POLL_S)
    return int(said[0])


def _said(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
