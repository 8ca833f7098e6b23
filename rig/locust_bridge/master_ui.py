"""The rig in locust's web UI: tabs for gates, waits, CPU and certificate, a page of live charts, the pack to download.

Flow: once a second while a test goes on, the coordinator is asked what the samplers see; the tabs' tables are filled in
what locust's own page polls (``/stats/requests``). Since it polls only while a test runs, ``/rig`` is a page of ours
that goes on polling ``/rig/state`` and shows the charts and the verdict. Nothing here judges anything.
"""

from __future__ import annotations

import json
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import gevent
from flask import Response, jsonify, request, send_file
from locust.web import WebUI

from rig.locust_bridge.master_coordinator import CoordinatorError
from rig.locust_bridge.master_guard import base_path

if TYPE_CHECKING:
    from rig.locust_bridge.master import Bridge

_TABS = {
    "rig-gates": ("Gates", ("gate", "verdict", "reason")),
    "rig-sessions": ("Database waits", ("event", "sessions")),
    "rig-cpu": ("CPU", ("role", "pid", "cores")),
    "rig-certificate": ("Certificate", ("what", "value")),
}
_CERTIFICATE = {
    "rps": "null benchmark, requests/s",
    "floor_rps": "floor, requests/s",
    "headroom": "headroom, times the floor",
    "client_cpu_us_per_request": "client CPU, µs per request",
}
_LOOK_EVERY_S = 1.0
_LOOKS_KEPT = 600
_PAGE = Path(__file__).with_name("page.html")


def add_tabs(web_ui: WebUI, bridge: Bridge) -> None:
    """Add tabs, tables, page and download to locust's UI."""
    view, base = View(bridge), base_path(web_ui)
    gevent.spawn(view.watch)
    web_ui.template_args.update(
        {
            "extended_tabs": [{"title": title, "key": key} for key, (title, _) in _TABS.items()],
            "extended_tables": [
                {"key": key, "structure": [{"key": name, "title": name.capitalize()} for name in columns]}
                for key, (_, columns) in _TABS.items()
            ],
            "extended_csv_files": [
                {"href": f"{base}/rig", "title": "The rig: verdict and live charts"},
                {"href": f"{base}/rig/pack", "title": "Evidence pack of the last test (zip)"},
            ],
        }
    )
    app = web_ui.app
    assert app is not None
    app.before_request(view.refuse)
    app.after_request(view.fill_tables)
    for path, answer in (("/rig", view.page), ("/rig/state", view.state), ("/rig/pack", view.pack)):
        app.add_url_rule(base + path, f"rig{path}", web_ui.auth_required_if_enabled(answer))


class View:
    """What there is to see, now and within the last minutes."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._live: dict[str, Any] = {}
        self._looks: deque[dict[str, Any]] = deque(maxlen=_LOOKS_KEPT)

    def watch(self) -> None:
        """Keep looking; runs in a greenlet of its own."""
        shown = None
        counted, counted_s = 0, time.monotonic()
        while True:
            gevent.sleep(_LOOK_EVERY_S)
            bridge, test = self._bridge, self._bridge.test
            if test is None or bridge.status != "running" or bridge.coordinator.busy:
                continue
            if shown is not test:  # a new test has curves of its own
                self._looks.clear()
                shown = test
            try:
                self._live = bridge.coordinator.ask("look") or self._live
            except CoordinatorError:  # the end of the test says so
                continue
            total = bridge.environment.stats.total
            # Not locust's own figure, which leaves out the last two seconds and still divides by them.
            now_s, requests = time.monotonic(), total.num_requests
            rps = max(0, requests - counted) / (now_s - counted_s)
            counted, counted_s = requests, now_s
            self._looks.append(
                {
                    "rps": round(rps, 1),
                    "ms": {
                        "p50": total.get_current_response_time_percentile(0.5) or 0,
                        "p95": total.get_current_response_time_percentile(0.95) or 0,
                    },
                    "roles": {row["role"]: row["cores"] for row in self._live.get("roles", [])},
                    "sessions": {row["event"]: row["sessions"] for row in self._live.get("sessions", [])},
                }
            )

    # --- what the browser asks for ---

    def page(self) -> Response:
        """The page of live charts."""
        return Response(_PAGE.read_text(encoding="utf-8"), mimetype="text/html")

    def state(self) -> Response:
        """Status, the last verdict, the curves and the rows of every table."""
        bridge, result = self._bridge, self._result()
        total = bridge.environment.stats.total
        return jsonify(
            status=bridge.status,
            users=bridge.runner.user_count,
            requests=total.num_requests,
            failures=total.num_failures,
            verdict=result and result["verdict"],
            pack=result and result["pack"],
            digest=result and result["digest"],
            looks=list(self._looks),
            columns={key: columns for key, (_, columns) in _TABS.items()},
            tables=self._tables(),
        )

    def pack(self) -> Response:
        """The evidence of the last test that came to its end."""
        if not self._bridge.results:
            return Response("no test has come to its end yet", status=404)
        folder = Path(self._bridge.results[-1]["pack"])
        zipped = tempfile.TemporaryFile()  # noqa: SIM115  # the answer closes it
        # In a thread of its own: workers take a master that is silent for long for a dead one.
        gevent.get_hub().threadpool.apply(_zip, (folder, zipped))
        return send_file(zipped, "application/zip", as_attachment=True, download_name=f"{folder.name}.zip")

    def refuse(self) -> Response | None:
        """Begin and change no test while one is prepared or judged: locust would lose the statistics of it."""
        if request.method == "POST" and request.path.endswith("/swarm") and (why := self._bridge.busy):
            return jsonify(success=False, message=f"Not now: {why}", host=self._bridge.environment.host)
        return None

    def fill_tables(self, response: Response) -> Response:
        """Put the rows of the tabs into what locust's own page polls."""
        if request.path.endswith("/stats/requests") and response.is_json:
            filled = [{"key": key, "data": rows} for key, rows in self._tables().items()]
            # Locust keeps this answer for two seconds: its page would take a test just begun for one that never did.
            state = self._bridge.runner.state
            response.set_data(json.dumps({**(response.get_json() or {}), "state": state, "extended_stats": filled}))
        return response

    def _result(self) -> dict[str, Any] | None:
        """The verdict of the last test, None while one goes on."""
        return self._bridge.results[-1] if self._bridge.results and self._bridge.test is None else None

    def _tables(self) -> dict[str, list[dict[str, Any]]]:
        certificate = self._bridge.certificate or {}
        return {
            "rig-gates": self._gates(),
            "rig-sessions": self._live.get("sessions") or [{"event": "no session waits or works", "sessions": 0}],
            "rig-cpu": self._live.get("processes") or [{"role": "not looked yet", "pid": "", "cores": ""}],
            "rig-certificate": [
                {"what": words, "value": certificate[what]}
                for what, words in _CERTIFICATE.items()
                if what in certificate
            ],
        }

    def _gates(self) -> list[dict[str, str]]:
        """The verdicts of the last test; while one goes on, what can be said of it already."""
        result = self._result()
        if result is None:
            return [_row(*row) for row in self._so_far()]
        return [_row(gate["id"], gate["verdict"], gate["reason"]) for gate in result["gates"]]

    def _so_far(self) -> Iterator[tuple[str, str, str]]:
        bridge, test = self._bridge, self._bridge.test
        yield "all", "not yet", f"{bridge.status}; verdicts come after the stop"
        if certificate := bridge.certificate:
            text = f"{certificate['rps']:,} requests/s, floor {certificate['floor_rps']:,g}"
            yield "calibration.null", "PASS", text
        if test is not None:
            total = bridge.environment.stats.total
            words = f"{total.num_failures:,} of {total.num_requests:,} requests were not answered as they should be"
            yield "answers", "FAIL so far" if total.num_failures else "good so far", words
            lost = [f"worker {seen.number}: {seen.lost}" for seen in test.workers.values() if seen.lost]
            lost += [f"worker {number} is not heard any more" for number in bridge.missing(test)]
            words = "; ".join(lost) or f"{len(test.workers)} of {len(test.workers)} workers are heard"
            yield "locust.reports", "INVALID so far" if lost else "good so far", words


def _row(gate: str, verdict: str, reason: str) -> dict[str, str]:
    return {"gate": gate, "verdict": verdict, "reason": reason}


def _zip(folder: Path, into: IO[bytes]) -> None:
    """Write a pack into a file, which is then at its start again."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    into.seek(0)
