from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from rig.checks.judge import judgement_of
from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.pack import Pack
from rig.evidence.power import DetectionPower
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.storm import StormReport
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.report.documents import documents, html, write
from rig.report.headline import headline
from rig.report.hover import hover_plots
from rig.report.junit import junit
from rig.report.plots import PLOTS, png
from rig.report.plots.canvas import log_scale, panels
from rig.report.shown import GateShown
from rig.report.summary import console, pull_request, summary
from rig.run.record import FinishedRun
from rig.text import figure_words, markdown, one_line, xml_text
from tests.evidence import synthetic

Run = tuple[Manifest, Case, Judgement]
GOLDEN = Path(__file__).parent.parent / "golden"
DRAWN = ("s8-limit", "throughput", "latency", "ladder", "null-benchmark")
"""The pictures that the literal run has the evidence for."""
HOSTILE = "<script>alert(1)</script>|`a`\n# x\x1b[31m\x00\u202e\ud800[red]"


def shown(judgement: Judgement, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(console(judgement, pack=Path("results/x"), digest="ab" * 32))
    return stream.getvalue()


def hostile() -> Run:
    """A run in which all that a target, a database or a stranger could choose is hostile."""
    case = synthetic.case(ladder=False, sustained=False)
    assert case.truth is not None
    total = replace(case.truth.totals[0], tenant=HOSTILE)
    key = Discrepancy(DiscrepancyKind.LOST, HOSTILE, "S8", HOSTILE, HOSTILE, HOSTILE)
    truth = replace(case.truth, totals=(total,), discrepancies=(key,), notes=(HOSTILE,))
    case = replace(case, truth=truth, notes=(HOSTILE,), profile={"name": HOSTILE})
    manifest = replace(synthetic.manifest(case), argv=("rig", HOSTILE), fingerprint={HOSTILE: {HOSTILE: HOSTILE}})
    gates = tuple(Gate(HOSTILE, verdict, HOSTILE, {HOSTILE: HOSTILE}, HOSTILE) for verdict in Verdict)
    return manifest, case, Judgement(Verdict.FAIL, 1, gates)


# --- goldens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["summary.md", "junit.xml", "console-80.txt", "console-120.txt"])
def test_golden(bad: Run, name: str) -> None:
    """Made again with UPDATE_GOLDEN=1; read the difference before it is kept."""
    manifest, case, judgement = bad
    text = {
        "summary.md": lambda: summary(manifest, case, judgement),
        "junit.xml": lambda: junit(manifest, judgement).decode(),
        "console-80.txt": lambda: shown(judgement, 80),
        "console-120.txt": lambda: shown(judgement, 120),
    }[name]()
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


# --- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("median_s", 6.214, "median 6.214 s"),
        ("rps", 41234.5, "41,234 requests/s"),
        ("trials_rps", [1, 2, 3, 4], "trials 1, 2, 3, … (4 in all) requests/s"),
        ("lag_max_ns", 12, "lag max 12 ns"),
        ("client_cpu_us_per_request", 23.1, "client cpu 23.1 µs/request"),
        ("rate_per_s", 1000.0, "rate 1,000 /s"),
        ("back_at_rate_max_s", "never", "back at rate max never"),
        ("tenants", 3, "tenants 3"),
        ("share", float("nan"), "share –"),
        ("steady", True, "steady yes"),
        ("kinds", {"lost": 2}, "kinds lost 2"),
    ],
)
def test_a_figure_takes_its_unit_from_its_name(name: str, value: object, words: str) -> None:
    assert figure_words(name, value) == words


def test_escapes() -> None:
    assert one_line("a\x1b[31m\n\u202e\u2028ü") == "a\\x1b[31m\\n\\u202e\\u2028ü"
    assert markdown("a|b_c _d_ `e`") == r"a\|b_c \_d\_ \`e\`"
    assert xml_text("a\x00\ud800\tb\ufffe") == "a\\x00\\ud800\tb\\ufffe"


# --- console ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_the_console_keeps_its_width_and_says_why(bad: Run, width: int) -> None:
    text = shown(bad[2], width)
    assert max(map(len, text.splitlines())) <= width
    assert text.index("Missed") < text.index("S8.time") < text.index("Exit gates") < text.index("EG3.4")
    assert text.index("EG3.4") < text.index("Passed") < text.index("calibration") < text.index("Not tried")
    assert "└ only 2 answers were seen in 94 s: the prober died" in text
    assert "FAIL  exit 1: 2 of 7 gates FAIL: S8.rows, S8.time" in text
    assert "ab" * 32 in text


def test_the_console_says_nothing_hostile_to_a_terminal() -> None:
    text = shown(hostile()[2], 80)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]" in text  # shown, not obeyed


# --- summary and JUnit ------------------------------------------------------------------------------------------


def test_hostile_text_stays_in_its_cell() -> None:
    manifest, case, judgement = hostile()
    of_gates = summary(manifest, case, judgement).partition("## Gates\n")[2].partition("\n## ")[0]
    rows = [line for line in of_gates.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(judgement.gates)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert "<script>" not in "".join(rows)


def test_a_command_cannot_close_its_own_fence(good: Run) -> None:
    manifest, case, judgement = good
    text = summary(replace(manifest, argv=("rig", "```\n# boo")), case, judgement)
    assert text.rstrip().endswith("\n````")


def test_hostile_text_leaves_junit_well_formed() -> None:
    manifest, _, judgement = hostile()
    suite = ET.fromstring(junit(manifest, judgement)).find("testsuite")
    assert suite is not None
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    names = {case.get("name") for case in suite.iter("testcase")}
    assert len(names) == 1
    assert "<script>" in str(names)


# --- report -----------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_report_loads_and_runs_nothing() -> None:
    page = html(*hostile(), pictures=())
    tags = Tags(page).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "form"}
    assert all(str(attributes["href"]).startswith("#") for tag, attributes in tags if tag == "a")
    assert not [
        attributes for _, attributes in tags if any(key.startswith("on") or key == "style" for key in attributes)
    ]
    assert "&lt;script&gt;" in page
    assert not re.search("[\x00\x1b\u202e]", page)


def test_the_policy_of_the_report_names_its_style_and_nothing_else(good: Run) -> None:
    page = documents(*good)["report.html"].decode()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(tag[1]["content"] for tag in Tags(page).tags if "http-equiv" in tag[1])
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    sources = [attributes["src"] for tag, attributes in Tags(page).tags if tag == "img"]
    assert len(sources) == len(DRAWN)
    assert all(source and source.startswith("data:image/webp;base64,") for source in sources)


def test_the_report_is_read_from_the_verdict_down(bad: Run) -> None:
    page = documents(*bad)["report.html"].decode()
    order = ("Why it is not PASS", "Exit gates", "Wrong in the database", "All gates", "Not measured", "Do it again")
    places = [page.index(f">{title}</h2>") for title in order]
    assert places == sorted(places)
    assert "7c9e6679-7425-40de-944b-e07fc1f90ae7" in page
    assert "privacy.logs: the profile names no log files" in page
    assert "rig run --seed 7 --out &#39;my results&#39;" in page


def test_a_run_that_gathered_nothing_still_reports(good: Run) -> None:
    manifest, judgement = good[0], Judgement(Verdict.INVALID, 3, ())
    made = documents(replace(manifest, ended_utc=None, scenario_runs=()), Case(), judgement)
    assert set(made) == {"report.html", "summary.md", "junit.xml", "pr.md"}
    page = made["report.html"].decode()
    assert "nothing was judged" in page
    assert "truth: the database was not read" in page
    for plot in PLOTS:
        assert f"{plot.title}: needs {plot.needs}" in page


def test_bars_say_their_figures_under_the_mouse_without_a_script(bad: Run) -> None:
    plots = hover_plots(bad[1])
    assert [plot.title.partition(";")[0] for plot in plots] == ["Answers a second", "p95 of the response time"]
    for plot in plots:
        root = ET.fromstring(plot.svg)
        titles = [each.text or "" for each in root.iter("title")]
        assert titles
        assert all(re.fullmatch(r"[\d.,]+ s: [\d.,]+/s, [\d.,]+/s failed, p95 .+", title) for title in titles)
    assert hover_plots(Case()) == ()


def test_what_fails_while_the_rig_breaks_things_is_no_error(bad: Run) -> None:
    _, case, judgement = bad
    errors = next(each for each in headline(case, judgement) if each.title == "Errors")
    assert errors.verdict == "FAIL"
    struck = replace(case, history=case.history.assign(scenario=S11))
    (attempts,) = (each for each in headline(struck, judgement) if "failed" in each.title)
    assert (attempts.value, attempts.verdict) == (errors.value, "")
    assert "Errors" not in {each.title for each in headline(struck, judgement)}
    red, grey = 'fill="#b2182b" d="M', 'fill="#b0b0b0" d="M'
    assert red in hover_plots(case)[0].svg
    assert grey not in hover_plots(case)[0].svg
    assert red not in hover_plots(struck)[0].svg
    assert grey in hover_plots(struck)[0].svg


def test_a_failing_gate_leads_to_its_examples(bad: Run) -> None:
    manifest, case, judgement = bad
    gate = next(gate for gate in judgement.gates if gate.id == "S8.rows")
    failing = [GateShown(gate, (), ("lost 7c9e (tenant A)",), "truth/unclean.csv has all 4", "another key, perhaps")]
    page = html(manifest, case, judgement, (), failing)
    assert '<a href="#of-S8.rows">S8.rows</a>' in page
    assert '<details id="of-S8.rows" open>' in page
    for words in ("lost 7c9e (tenant A)", "truth/unclean.csv has all 4", "another key, perhaps"):
        assert words in page
    assert "lost 7c9e" in pull_request(manifest, judgement, failing)
    stream = io.StringIO()
    Console(file=stream, width=200).print(console(judgement, failing=failing))
    assert "e.g. lost 7c9e (tenant A)" in stream.getvalue()


def test_a_worker_without_a_report_is_named(good: Run) -> None:
    manifest, case, judgement = good
    silent = ScenarioRun(replace(case.scenario_runs[0].scenario, step=7), workers=(None,), notes=("worker 0 died",))
    page = documents(manifest, replace(case, scenario_runs=(*case.scenario_runs, silent)), judgement)[
        "report.html"
    ].decode()
    assert f"{silent.scenario.label}: a worker gave no report" in page
    assert f"{silent.scenario.label}: worker 0 died" in page


def test_documents_become_part_of_the_sealed_pack(pack: Pack, good: Run) -> None:
    write(pack, *good)
    pack.seal()
    assert pack.verify().intact
    assert {path.name for path in (pack.path / "plots").iterdir()} == {f"{name}.png" for name in DRAWN}


# --- plots ------------------------------------------------------------------------------------------------------


def test_a_title_says_what_was_seen(bad: Run) -> None:
    titles = {plot.name: figure.get_suptitle() for plot in PLOTS if (figure := plot.draw(bad[1])) is not None}
    assert titles["s8-limit"] == "S8: 10,000 requests in 11.80 s (median), limit 10 s"
    assert titles["throughput"] == "Throughput: 806 to 1,087 requests/s, 40 not answered as expected"
    assert titles["null-benchmark"] == "Null benchmark: 42,500 requests/s, 21.2 times the floor of 2,000"
    assert titles["ladder"].startswith("Ladder: slowest p99 436.7 ms, of S7 at 1k")
    assert titles["latency"].startswith("Latency: p99 of the response time up to")


def test_there_is_no_picture_of_nothing() -> None:
    assert [plot.draw(Case()) for plot in PLOTS] == [None] * len(PLOTS)


def test_skipped_requests_are_not_drawn_as_answers(bad: Run) -> None:
    case = bad[1]
    trial = case.scenario_runs_of("S8")[0]
    cut = (case.history["scenario_run"] == trial.scenario.label) & (case.history["seq"] >= 9000)
    rows = case.history.copy()
    rows.loc[cut, ["sent_ns", "done_ns", "intended_ns"]] = 0
    rows.loc[cut, ["outcome", "error_kind"]] = ("not_sent", "skipped")
    seen = replace(case, scenario_runs=(trial,), history=rows[rows["scenario_run"] == trial.scenario.label])
    by_name = {plot.name: plot.draw(seen) for plot in PLOTS}
    limit, rates = by_name["s8-limit"], by_name["throughput"]
    assert limit is not None
    assert rates is not None
    labels = [line.get_label() for line in limit.axes[0].get_lines()]
    assert "trial 1: 9.20 s, 1,000 not answered" in labels
    assert "1,000 never sent" in rates.get_suptitle()


def test_a_scenario_run_of_one_request_can_be_drawn(good: Run) -> None:
    case = good[1]
    trial = case.scenario_runs_of("S8")[0]
    one = case.rows_of(trial).head(1)
    for plot in PLOTS:
        figure = plot.draw(replace(case, scenario_runs=(trial,), history=one))
        if figure is not None:
            png(figure)


def test_pictures_leave_no_state_and_come_late() -> None:
    """Importing the report costs no matplotlib; drawing needs no pyplot."""
    code = (
        "import sys; import rig.report.documents; from tests.evidence import synthetic\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from rig.report.plots import PLOTS\n"
        "drawn, = [plot for plot in PLOTS if plot.name == 'null-benchmark']\n"
        "assert drawn.draw(synthetic.case(ladder=False, sustained=False, perf=False)) is not None\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_name_with_a_dollar_is_no_formula() -> None:
    figure, (axes,) = panels(1, r"log$\frac$_$x")
    axes.set_yticks([0.5], [r"$_$\q"])
    axes.annotate("a$b_$", (0.1, 0.1))
    assert png(figure)


@pytest.mark.parametrize(("lowest", "highest"), [(65, 190), (51, 199), (105, 140), (99, 101), (5, 900), (0.02, 30)])
def test_a_logarithmic_axis_has_marks_enough_and_not_too_many(lowest: float, highest: float) -> None:
    figure, (axes,) = panels(1, "")
    axes.plot([0, 1], [lowest, highest])
    log_scale(axes)
    figure.draw_without_rendering()
    bottom, top = axes.get_ylim()
    assert 3 <= sum(bottom <= mark <= top for mark in axes.get_yticks()) <= 12


def test_the_detection_power_stands_in_every_document(good: Run, tmp_path: Path) -> None:
    manifest, case, judgement = good
    powers = (DetectionPower("loss", "a lost row", "acknowledged keys", 4493, 1500.0),)
    powers += (DetectionPower("late", "a late row", "watched keys", 0, None, "no row was watched"),)
    judgement = replace(judgement, detection_power=powers)
    said = "a lost row, 1 in 1,500 or more of 4,493 acknowledged keys"
    unseen = "could not have been found: a late row (no row was watched)"
    assert f"95 %: {said}; {unseen}" in html(manifest, case, judgement, ())
    assert f"95 %: {said}; {unseen}" in summary(manifest, case, judgement)
    assert said in junit(manifest, judgement).decode()
    assert said in " ".join(shown(judgement, 300).split())
    finished = FinishedRun("run", judgement, tmp_path, None, None)
    assert [power["one_in"] for power in finished.document()["detection_power"]] == [1500.0, None]
    pack = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
    pack.write_judgement(judgement)
    assert pack.judgement() == judgement


def test_what_was_wrong_on_purpose_stands_beside_every_verdict(good: Run, tmp_path: Path) -> None:
    manifest, case, judgement = good
    assert not judgement.on_purpose
    off = StormReport(storm="tenant-leak", case="tenant-leak", display_only=True, without=("transaction-scope",))
    judged = judgement_of(replace(case, settings={**case.settings, "defects": ["slow"]}, storms=(off,)))
    words = "seeded into the service: slow (--defect); left out of tenant-leak: transaction-scope (--without)"
    assert judged.on_purpose == words
    assert words in html(manifest, case, judged, ())
    for text in (summary(manifest, case, judged), pull_request(manifest, judged, ())):
        assert words in text.replace("\\", "")
    assert f"on purpose {words}" in " ".join(shown(judged, 300).split())
    assert FinishedRun("run", judged, tmp_path, None, None).document()["on_purpose"] == words
    failed = replace(judged, gates=(Gate("S1.rows", Verdict.FAIL, "rows"), Gate("S2.rows", Verdict.PASS, "rows")))
    document = ET.fromstring(junit(manifest, failed))
    assert [each.text for each in document.iter("failure") if words in (each.text or "")]
    assert {each.get("value") for each in document.iter("property") if each.get("name") == "on_purpose"} == {words}
