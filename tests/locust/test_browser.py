"""The web UI as a person uses it: headless Chromium clicks through a whole test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.locust.browser import CHROMIUM, browser
from tests.locust.locust_processes import web_ui

TABS = {"Gates": "good so far", "Database waits": "Sessions", "CPU": "client worker", "Certificate": "headroom"}
SCALED = 12
VERDICT = "['PASS', 'FAIL', 'INVALID'].find(v => v === document.getElementById('verdict').textContent)"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_one_click_starts_a_storm_and_the_page_ends_with_a_verdict(tmp_path: Path) -> None:
    with web_ui(tmp_path) as ui:
        async with browser() as page:
            await page.open(ui.url)
            # Locust's page believes the last answer it gets: "ready", asked for as it loads, may come after "started".
            await page.answered("/stats/requests")
            await page.click("Start")
            await page.until("document.body.innerText.includes('S2 UniqueStorm')")
            for tab, text in TABS.items():
                await page.click(tab)
                await page.until(f"document.body.innerText.includes({text!r})")
                (tmp_path / f"{tab}.png").write_bytes(await page.screenshot())
            await page.click("Edit")
            await page.submit(userCount=SCALED, spawnRate=SCALED)
            ui.until(lambda state: state["users"] == SCALED)
            await page.click("Download data")
            await page.until("!!document.querySelector('a[href=\"/rig/pack\"]')")
            await page.click("Stop")
            await page.open(f"{ui.url}/rig")
            assert await page.until(VERDICT, 60) == "PASS"
            assert await page.until("document.querySelectorAll('#rps-chart polyline').length") == 1
            size = await page.evaluate("fetch('/rig/pack').then(r => r.arrayBuffer()).then(b => b.byteLength)")
            assert size > 10_000
            (tmp_path / "page.png").write_bytes(await page.screenshot())
