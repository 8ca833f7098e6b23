"""Makes the pictures in ``docs/pictures`` from real runs: ``make pictures``, about two minutes.

Flow: tmux holds a terminal in which ``rig perf`` meets a service without deduplication. Chromium draws its screen, and
shows the run's report and the web UI during and after a test. Needs ``tmux`` and ``chromium``. Whatever it starts
listens on loopback and ends with it.
"""

from __future__ import annotations

import asyncio
import io
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.cli.commands import command
from tests.locust.browser import Page, browser
from tests.locust.locust_processes import web_ui

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
COLUMNS, LINES = 120, 64
RUN = ("perf", "-n", "3000", "--defect", "no-deduplication", "--no-latency-calibration")
_END_S = 240.0
_POLL_S = 0.2
_COLOURS = 255
_THEME = TerminalTheme(
    (22, 24, 29),
    (216, 222, 233),
    [
        (59, 66, 82),
        (224, 85, 97),
        (140, 194, 101),
        (209, 143, 82),
        (74, 165, 240),
        (193, 98, 222),
        (66, 179, 194),
        (215, 218, 224),
    ],
)
_TERMINAL = (
    '<body style="margin:0;display:inline-block;background:#16181d;color:#d8dee9;padding:14px;'
    'font:14px/1.35 DejaVu Sans Mono,monospace"><pre style="margin:0;font:inherit">{}</pre></body>'
)


class Terminal:
    """A terminal of tmux in which one command runs."""

    def __init__(self, name: str) -> None:
        self._tmux = ("tmux", "-L", name)

    def screen(self) -> str:
        """What stands on it, with its colours."""
        shown = subprocess.run((*self._tmux, "capture-pane", "-e", "-p"), capture_output=True, text=True, check=True)
        return shown.stdout.rstrip()

    def wait_for(self, *words: str) -> str:
        """The screen, once all these words stand on it."""
        deadline = time.monotonic() + _END_S
        while not all(word in (screen := self.screen()) for word in words):
            assert time.monotonic() < deadline, f"{words} never came: {screen}"
            time.sleep(_POLL_S)
        return screen


@contextmanager
def terminal(words: list[str], folder: Path) -> Iterator[Terminal]:
    """Run a command in a terminal, which stays until the end of this context."""
    name = f"rig-pictures-{folder.name}"
    size = ("-x", str(COLUMNS), "-y", str(LINES))
    script = f"clear; {shlex.join(words)}; sleep {_END_S:.0f}"
    subprocess.run(("tmux", "-L", name, "new-session", "-d", *size, "-c", str(folder), script), check=True)
    try:
        yield Terminal(name)
    finally:
        subprocess.run(("tmux", "-L", name, "kill-server"), check=True)


async def keep(page: Page, name: str, width: int, height: int) -> None:
    """Write what the page shows into a file of few colours. ``height`` 0: all of it."""
    await page.call("Emulation.setScrollbarsHidden", hidden=True)
    await page.resize(width, height or 100)
    if not height:
        await page.resize(width, await page.evaluate("document.documentElement.scrollHeight"))
    picture = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


async def draw_screen(page: Page, name: str, screen: str, folder: Path) -> None:
    """A terminal's screen as a picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(screen), soft_wrap=True)
    document = folder / f"{name}.html"
    document.write_text(console.export_html(theme=_THEME, inline_styles=True, code_format=_TERMINAL.format("{code}")))
    await page.open(document.as_uri())
    await page.until("!!document.querySelector('pre')")
    width = await page.evaluate("Math.ceil(document.body.getBoundingClientRect().width)")
    await keep(page, name, width, 0)


def find_report(folder: Path) -> Path:
    """The report of the one run in a folder."""
    (report,) = folder.glob("results/*/report.html")
    return report


async def draw_run(page: Page, folder: Path) -> None:
    """The terminal while a run goes and at its end, and the run's report."""
    with terminal(command(*RUN, "--out", "results"), folder) as run:
        going = await asyncio.to_thread(run.wait_for, "PerfGate", "/s · p95 ")
        ended = await asyncio.to_thread(run.wait_for, "sha256 ", "why ")
    await draw_screen(page, "terminal-run", going, folder)
    await draw_screen(page, "terminal-verdict", ended, folder)
    await page.open(find_report(folder).as_uri())
    await page.until("document.querySelector('h1').innerText.startsWith('FAIL')")
    await keep(page, "report", 1100, 900)


async def draw_ui(page: Page, folder: Path) -> None:
    """The web UI while a test goes, and after one that failed, as on a telephone."""
    with web_ui(folder, "--defect", "no-deduplication") as ui:
        await page.resize(1100, 900)
        await page.open(ui.address)
        await page.until("document.getElementById('verdict').textContent === 'Ready'")
        await page.submit(user_count=5, spawn_rate=5, run_time="15s")
        await page.until("document.querySelector('#rps-chart polyline')?.points.length > 4", 60)
        await keep(page, "ui-during", 1100, 900)
        await page.until("!document.getElementById('download').hidden", 120)
        await keep(page, "ui-after", 400, 800)


async def main() -> None:
    """Make all pictures anew."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rig-pictures-") as folder:
        async with browser() as page:
            await draw_run(page, Path(folder))
            await draw_ui(page, Path(folder))
    for picture in sorted(FOLDER.glob("*.png")):
        sys.stdout.write(f"{picture.name}: {picture.stat().st_size / 1024:.0f} KiB\n")


if __name__ == "__main__":
    asyncio.run(main())
