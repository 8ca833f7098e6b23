"""The web UI as a person uses it: headless Chromium clicks through a whole test."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from aiohttp import web

from tests.locust.browser import CHROMIUM, Page, browser
from tests.locust.locust_processes import web_ui

TABS = {"Gates": "good so far", "Database waits": "Sessions", "CPU": "client worker", "Certificate": "headroom"}
SCALED = 12
LINK = "The rig: verdict, gates, rows and live charts"
RED = "rgb(185, 28, 28)"
VERDICT = (
    "document.getElementById('download').hidden ? '' : "
    "['PASS', 'FAIL', 'INVALID'].find(v => v === document.getElementById('verdict').textContent)"
)
WIDTHS = {1280: 1000, 400: 900}
CHARTS = "['rps', 'ms', 'roles', 'sessions'].every(id => document.querySelector(`#${id}-chart polyline`))"


async def look(page: Page, shot: Path) -> None:
    """See that nothing of the page stands out to the right, on a screen and on a telephone. Pictures go to ``shot``."""
    for width, height in WIDTHS.items():
        await page.resize(width, height)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        shot.with_name(f"{shot.name}-{width}.png").write_bytes(await page.screenshot())
    await page.resize(1280, 1000)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_one_click_starts_a_storm_and_the_page_ends_with_a_verdict(tmp_path: Path) -> None:
    with web_ui(tmp_path) as ui:
        async with browser() as page:
            await page.open(ui.address)
            await page.until("document.getElementById('verdict').textContent === 'Ready'")
            await look(page, tmp_path / "before")
            await page.click("Locust's page")
            await page.until("!!document.querySelector('[name=userCount]')")
            shown = "[...document.querySelectorAll('form input')].filter(e => e.checkVisibility()).map(e => e.name)"
            assert "userCount" in (fields := await page.evaluate(shown))
            assert {"host", "profile"}.isdisjoint(fields)
            await page.click(LINK)
            await page.until("document.getElementById('verdict').textContent === 'Ready'")
            await page.submit(user_count=SCALED // 2, spawn_rate=SCALED)
            await page.until("document.getElementById('verdict').textContent === 'Nothing failed so far'")
            await page.until(f"document.getElementById('rig-classes').innerText.includes('S2 UniqueStorm') && {CHARTS}")
            await look(page, tmp_path / "during")
            await page.click("Locust's page")
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
            await page.click(LINK)
            await page.until("!document.getElementById('stop').hidden")
            await page.click("Stop")
            assert await page.until(VERDICT, 60) == "PASS"
            assert "passed" in await page.evaluate("document.getElementById('rig-gates').innerText")
            await look(page, tmp_path / "after-pass")
            size = await page.evaluate("fetch('/rig/pack').then(r => r.arrayBuffer()).then(b => b.byteLength)")
            assert size > 10_000
            await page.click("Report")
            await page.until("document.querySelector('h1').innerText.startsWith('PASS')")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_a_failed_test_is_red_and_names_its_first_example(tmp_path: Path) -> None:
    with web_ui(tmp_path, "--defect", "no-deduplication") as ui:
        async with browser() as page:
            await page.open(ui.address)
            await page.until("document.getElementById('verdict').textContent === 'Ready'")
            await page.submit(user_count=SCALED, spawn_rate=SCALED, run_time="3s")
            assert await page.until(VERDICT, 60) == "FAIL"
            assert await page.evaluate("getComputedStyle(document.getElementById('head')).backgroundColor") == RED
            assert "e.g. " in await page.evaluate("document.getElementById('rig-gates').innerText")
            assert "duplicated" in await page.evaluate("document.getElementById('rig-classes').innerText")
            await look(page, tmp_path / "after-fail")


ATTACKS = """(async () => {
    const url = %r, tried = [];
    const read = (path, options) => fetch(url + path, options).then(r => r.text()).then(t => tried.push(t), () => 0);
    await read("/rig/state", {credentials: "include"});
    await read("/logs", {credentials: "include", mode: "no-cors"});
    const form = new URLSearchParams({user_count: 1, spawn_rate: 1});
    await read("/swarm", {method: "POST", credentials: "include", body: form});
    const frame = document.createElement("iframe");
    frame.src = url + "/";
    document.body.append(frame);
    await new Promise(done => frame.onload = done);
    try { tried.push(frame.contentDocument.body.innerText) } catch { }
    return tried.filter(Boolean);
})()"""


async def _say_hello(_: web.Request) -> web.Response:
    return web.Response(text="<body>a page</body>", content_type="text/html")


async def _another_site() -> tuple[web.AppRunner, int]:
    """A site of somebody else on another port of this machine: for cookies the same site, by origin another."""
    app = web.Application()
    app.router.add_get("/", _say_hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, int(runner.addresses[0][1])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_a_page_of_another_origin_and_a_name_that_was_rebound_start_and_read_nothing(tmp_path: Path) -> None:
    runner, port = await _another_site()
    try:
        with web_ui(tmp_path) as ui:
            async with browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as page:
                await page.open(
                    ui.address
                )  # the browser has the cookie: whoever lures its user has all that he can have
                await page.answered("/rig/state")
                await page.open(f"http://127.0.0.1:{port}/")
                await page.until("document.body.innerText.includes('a page')")
                assert await page.evaluate(ATTACKS % ui.url) == []
                await page.open(ui.url.replace("127.0.0.1", "evil.example"))
                await page.until("document.body.innerText.includes('Refused: this UI is not served under')")
                await page.open(f"{ui.url}/")
                await page.until("document.getElementById('status').textContent.includes('ready')")
            with pytest.raises(urllib.error.HTTPError, match="403"):  # another user of this machine
                urllib.request.urlopen(f"{ui.url}/rig/state")  # noqa: ASYNC210  # nothing else runs on this loop
            assert ui.state()["status"] == "ready"
            assert ui.state()["requests"] == 0
    finally:
        await runner.cleanup()
