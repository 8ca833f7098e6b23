"""The first page of the web UI, and the rig's tabs in locust's own page, which is at ``/locust``.

Flow: once a second while a test goes on, the coordinator is asked what the samplers see. The first page polls
``/rig/state`` before, during and after a test; it starts and stops tests by locust's own routes. Tables of the tabs are
filled in what locust's page polls (``/stats/requests``), which it does only while a test runs. Nothing here judges
anything.
"""

from __future__ import annotations

import json
import tempfile
import time
import zipfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import gevent
from flask import Response, jsonify, request, send_file
from locust.stats import StatsEntry
from locust.web import WebUI

from rig.evidence.failures import describe_failures, leave_excuses_out
from rig.evidence.judgement import EXIT_GATE
from rig.locust_bridge.master_coordinator import CoordinatorError
from rig.locust_bridge.master_guard import base_path

if TYPE_CHECKING:
    from rig.locust_bridge.master import Bridge

_TABLES = {
    "rig-classes": (
        "Requests by class",
        ("class", "requests", "failures", "p50 ms", "p95 ms", "p99 ms", "canonical rows", "dead letters", "rows"),
    ),
    "rig-errors": ("Answers that must not be", ("class", "answer", "requests", "first key")),
}
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
_OWN_PAGE = "locust.index"
_LOOK_EVERY_S = 1.0
_LOOKS_KEPT = 600
_REPORTED_WITHIN_S = 2
"""Workers report once a second."""
_ORDER = {"FAIL": 0, "INVALID": 1, "PASS": 2, "NOT-RUN": 3}
_PAGE = Path(__file__).with_name("page.html")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_FAULTS = {"canonical", "dead", "expected", "scenario_runs", "keys"}
"""Figures of a gate of rows that are none of its faults."""
_BAR = """<style>
.rig-bar { position: fixed; z-index: 9999; bottom: 0; left: 0; right: 0; padding: .5rem 1rem; background: #1d4e89;
  font: 15px Roboto, sans-serif; } .rig-bar a { color: #fff; }
.MuiFormControl-root:has(> .MuiInputBase-root > [name=host]) { display: none; }
.MuiAutocomplete-root:has([name=profile]) { display: none; }
</style>
<div class="rig-bar"><a href="./">The rig: verdict, gates, rows and live charts</a></div>
"""
"""On locust's page: the way to the first one. The host is the profile's, and locust's profile is for its cloud: fields
for them would have no effect.
"""


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
                {"href": f"{base}/", "title": "The rig: verdict and live charts"},
                {"href": f"{base}/rig/report", "title": "Report of the last test"},
                {"href": f"{base}/rig/pack", "title": "Evidence pack of the last test (zip)"},
            ],
        }
    )
    app = web_ui.app
    assert app is not None
    app.before_request(view.refuse)
    app.after_request(view.fill_tables)
    answers = {"/rig": view.page, "/rig/state": view.state, "/rig/pack": view.pack, "/rig/report": view.report}
    for path, answer in answers.items():
        app.add_url_rule(base + path, f"rig{path}", web_ui.auth_required_if_enabled(answer))
    own_page = app.view_functions[_OWN_PAGE]
    app.view_functions[_OWN_PAGE] = app.view_functions["rig/rig"]
    app.add_url_rule(f"{base}/locust", "rig/locust", lambda: _lead_to_first_page(own_page()))


def _lead_to_first_page(page: Any) -> Any:
    """Locust's page with the bar; an error or a redirect as it is."""
    return page.replace('<div id="root">', f'{_BAR}<div id="root">') if isinstance(page, str) else page


class View:
    """What there is to see, now and within the last minutes."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._live: dict[str, Any] = {}
        self._looks: deque[dict[str, Any]] = deque(maxlen=_LOOKS_KEPT)

    def watch(self) -> None:
        """Keep looking; runs in a greenlet of its own."""
        shown = None
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
            # The last whole second that every worker has reported by now. Locust's own figure leaves out the last two
            # seconds and still divides by them.
            rps = total.num_reqs_per_sec.get(int(time.time()) - _REPORTED_WITHIN_S, 0)
            self._looks.append(
                {
                    "rps": rps,
                    "ms": {
                        word: total.get_current_response_time_percentile(share) or 0
                        for word, share in _QUANTILES.items()
                    },
                    "roles": {row["role"]: row["cores"] for row in self._live.get("roles", [])},
                    "sessions": {row["event"]: row["sessions"] for row in self._live.get("sessions", [])},
                }
            )

    # --- what the browser asks for ---

    def page(self) -> Response:
        return Response(_PAGE.read_text(encoding="utf-8"), mimetype="text/html")

    def state(self) -> Response:
        """Status, verdict, the curves and the rows of every table."""
        bridge, result = self._bridge, self._result()
        total, options = bridge.environment.stats.total, bridge.environment.parsed_options
        return jsonify(
            status=bridge.status,
            goes=bridge.test is not None or bool(bridge.busy),
            users=bridge.runner.user_count,
            requests=total.num_requests,
            failures=sum(self._failures().values()),
            head=self._head(),
            purpose=self._bridge.on_purpose,
            tiles=self._tiles(),
            form={"user_count": options and options.num_users, "spawn_rate": options and options.spawn_rate},
            verdict=result and result["verdict"],
            pack=result and result["pack"],
            digest=result and result["digest"],
            looks=list(self._looks),
            columns={key: columns for key, (_, columns) in (_TABS | _TABLES).items()},
            tables=self._tables(),
        )

    def report(self) -> Response:
        """The report of the last test that came to its end."""
        folder = self._last_pack()
        file = folder / "report.html" if folder is not None else None
        return send_file(file, "text/html") if file is not None and file.is_file() else _refuse_for_now()

    def pack(self) -> Response:
        """The evidence of the last test that came to its end."""
        folder = self._last_pack()
        if folder is None:
            return _refuse_for_now()
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

    def _last_pack(self) -> Path | None:
        """None before the first one, and where somebody has moved it since."""
        folder = Path(self._bridge.results[-1]["pack"]) if self._bridge.results else None
        return folder if folder is not None and folder.is_dir() else None

    def _result(self) -> dict[str, Any] | None:
        """The verdict of the last test; None while one goes on, and where the last one could not be judged."""
        bridge = self._bridge
        is_over = bridge.test is None and not bridge.busy and not bridge.error
        return bridge.results[-1] if bridge.results and is_over else None

    def _head(self) -> dict[str, str]:
        """What stands on top: a verdict as soon as there is one. What has failed stays so to the end."""
        bridge, result = self._bridge, self._result()
        if bridge.error:
            return _make_head("ERROR", "", bridge.error)
        if result is not None:
            name, words = result["about_speed"]
            return _make_head(
                result["verdict"], "", result["sentence"], f"{name.capitalize()}: {words}" if words else ""
            )
        so_far = [row for row in self._so_far() if row[1] in ("FAIL", "INVALID")]
        for word in ("FAIL", "INVALID"):
            if reasons := [reason for _, verdict, reason in so_far if verdict == word]:
                return _make_head(word, "", f"{'; '.join(reasons)}. The rows are compared after the stop.")
        if bridge.test is None:
            return _make_head("", "Preparing" if bridge.busy else "Ready", "No test has been judged yet.")
        return _make_head("", "Nothing failed so far", "The rows are compared with the requests after the stop.")

    def _tiles(self) -> list[dict[str, Any]]:
        total = self._bridge.environment.stats.total
        rate = self._looks[-1]["rps"] if self._looks and self._bridge.test is not None else round(total.total_rps, 1)
        times = {f"{word}, ms": _quantile(total, share) for word, share in _QUANTILES.items()}
        failures = sum(self._failures().values())
        failed = {"title": "Failures", "value": failures, "verdict": "FAIL" if failures else ""}
        figures = {"Requests/s": rate, **times, "Requests": total.num_requests}
        return [*({"title": name, "value": value, "verdict": ""} for name, value in figures.items()), failed]

    def _classes(self) -> Iterator[dict[str, Any]]:
        """Requests of each class, and its rows once they were read."""
        result = self._result()
        rows = {gate["id"]: gate for gate in result["gates"]} if result is not None else {}
        for (name, _), entry in sorted(self._bridge.environment.stats.entries.items()):
            gate = rows.get(f"{name.split()[0]}.rows")
            figures = gate["figures"] if gate else {}
            faults = ", ".join(f"{count} {kind}" for kind, count in figures.items() if kind not in _FAULTS)
            yield {
                "class": name,
                "requests": entry.num_requests,
                "failures": entry.num_failures,
                **{f"{word} ms": _quantile(entry, share) for word, share in _QUANTILES.items()},
                "canonical rows": figures.get("canonical", ""),
                "dead letters": figures.get("dead", ""),
                "rows": faults or (gate["verdict"] if gate else "not read yet"),
            }

    def _errors(self) -> Iterator[dict[str, Any]]:
        for name, error in self._bridge.environment.stats.errors.items():
            example = self._bridge.examples.get(name, "")
            said = {"class": error.name, "answer": str(error.error), "requests": error.occurrences}
            yield said | {"first key": example}

    def _failures(self) -> dict[str, int]:
        """How many requests have failed so far, by kind; without what is excused at the end."""
        stats, kinds = self._bridge.environment.stats, Counter[str]()
        for error in stats.errors.values():
            kinds[str(error.error)] += error.occurrences
        return leave_excuses_out(kinds, stats.total.num_requests)

    def _say_failures(self, failures: Mapping[str, int]) -> str:
        """How many, of which kinds, and the first one's key."""
        errors = self._bridge.environment.stats.errors.items()
        first = next((self._bridge.examples.get(name) for name, each in errors if str(each.error) in failures), None)
        return describe_failures(failures) + (f"; the first has the key {first}" if first else "")

    def _tables(self) -> dict[str, list[dict[str, Any]]]:
        certificate = self._bridge.certificate or {}
        return {
            "rig-gates": self._gates(),
            "rig-classes": list(self._classes()),
            "rig-errors": list(self._errors()),
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
        examples = result.get("examples", {})
        gates = [
            _row(gate["id"], gate["verdict"], gate["reason"]) | {"example": examples.get(gate["id"], "")}
            for gate in result["gates"]
        ]
        return sorted(gates, key=lambda gate: (_ORDER.get(gate["verdict"], 0), gate["gate"].startswith(EXIT_GATE)))

    def _so_far(self) -> Iterator[tuple[str, str, str]]:
        bridge, test = self._bridge, self._bridge.test
        if bridge.error:
            yield "all", "INVALID", bridge.error
            return
        yield "all", "not yet", f"{bridge.status}; verdicts come after the stop"
        if certificate := bridge.certificate:
            text = f"{certificate['rps']:,} requests/s, floor {certificate['floor_rps']:,g}"
            yield "calibration.null", "PASS", text
        if test is not None:
            total, failures = bridge.environment.stats.total, self._failures()
            words = f"Of {total.num_requests:,} requests {self._say_failures(failures)}"
            yield "answers", "FAIL" if failures else "good so far", words
            lost = [f"worker {seen.number}: {seen.lost}" for seen in test.workers.values() if seen.lost]
            lost += [f"worker {number} is not heard any more" for number in bridge.missing(test)]
            words = "; ".join(lost) or f"{len(test.workers)} of {len(test.workers)} workers are heard"
            yield "locust.reports", "INVALID" if lost else "good so far", words
            if strangers := self._live.get("strangers"):
                yield (
                    "the machine",
                    "busy",
                    f"{strangers} in the last seconds: response times are not the target's alone",
                )


def _make_head(word: str, title: str, sentence: str, diagnosis: str = "") -> dict[str, str]:
    return {"word": word, "title": title, "sentence": sentence, "diagnosis": diagnosis}


def _quantile(entry: StatsEntry, share: float) -> float:
    return round(float(entry.get_response_time_percentile(share) or 0), 1)


def _refuse_for_now() -> Response:
    return Response("there is no pack: no test has come to its end yet, or its pack was moved", status=404)


def _row(gate: str, verdict: str, reason: str) -> dict[str, str]:
    return {"gate": gate, "verdict": verdict, "reason": reason}


def _zip(folder: Path, into: IO[bytes]) -> None:
    """Write a pack into a file, which is then at its start again."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    into.seek(0)
