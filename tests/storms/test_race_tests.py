"""The race tests over the reference implementations and over a user's own, with a real PostgreSQL and processes."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from rig.checks.judge import judge
from rig.checks.race_tests.catalog import RACE_TESTS, STORMS, gates_of
from rig.errors import ConfigError, Unavailable, UsageError
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.storm import StormReport
from rig.profile import Profile, bundled_profile
from rig.profile.discovery import Origin, ProfileChoice
from rig.profile.storms import MatviewRefresh
from rig.selftest.weaknesses import WEAKNESSES, Weakness
from rig.storms import catalog as storms
from rig.storms.catalog import require, run_storm
from rig.storms.ddl_ledger import Note
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.matview_refresh import _Answered, _Readers, refresh_figures
from rig.storms.race_test import RaceTest
from rig.storms.rate_limit import granted_in_whole_windows, most_in_a_window, scope_factor_of_each
from rig.storms.scheduler_claim import draw_kills, unexplained_repeats
from rig.target.postgres import Cluster
from rig.verbs.ci import steps_of
from tests.cli.commands import only_pack, rig
from tests.serving import say, serving


def storm_environment_for(cluster: Cluster, folder: Path, profile: Profile, **more: Any) -> StormEnvironment:
    return StormEnvironment(cluster, profile, bundled_profile().parent, dict(os.environ), folder, **more)


def with_storms(**storms: dict[str, Any]) -> Profile:
    raw = tomllib.loads(bundled_profile().read_text())
    raw["storms"] = {name.replace("_", "-"): section for name, section in storms.items()}
    return Profile.model_validate(raw)


def storm(environment: StormEnvironment, name: str, order: StormOptions | None = None) -> StormReport:
    (report,) = run_storm(environment, name, order or StormOptions())
    return report


def storm_of(
    cluster: Cluster, folder: Path, name: str, section: dict[str, Any], processes: int | None = None
) -> StormReport:
    """The storm as a profile with nothing but this section has it."""
    profile = with_storms(**{name.replace("-", "_"): section})
    return storm(storm_environment_for(cluster, folder, profile), name, StormOptions(processes))


def verdicts(report: StormReport) -> dict[str, str]:
    return {gate.id: gate.verdict.value for gate in gates_of(report)}


def hold(environment: StormEnvironment, weakness: Weakness) -> None:
    report = storm(environment, weakness.storm, StormOptions(PROCESSES, weakness.without))
    found = verdicts(report)
    expected = {gate: verdict.value for gate, verdict in weakness.cells().items()}
    assert {gate: found[gate] for gate in expected} == expected, report


OF_RACE_TESTS = [weakness for weakness in WEAKNESSES if weakness.storm in RACE_TESTS]
QUICK = {"claim", "transaction-scope"}
PROCESSES = 4


@pytest.mark.parametrize(
    "weakness",
    [w for w in OF_RACE_TESTS if not w.without or QUICK & set(w.without)],
    ids=lambda weakness: weakness.name,
)
def test_the_reference_holds_and_without_its_protection_it_does_not(
    environment: StormEnvironment, weakness: Weakness
) -> None:
    hold(environment, weakness)
    assert (environment.folder / "ledger" / f"{weakness.storm}.jsonl").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    "weakness",
    [w for w in OF_RACE_TESTS if w.without and not QUICK & set(w.without)],
    ids=lambda weakness: weakness.name,
)
def test_every_other_protection_turns_its_own_gate_red(environment: StormEnvironment, weakness: Weakness) -> None:
    hold(environment, weakness)


@pytest.mark.parametrize(
    ("grants", "counted"),
    [
        # bursts of 3 at 900 ms of every window: the edges of the count keep away from them
        ([0, 1, 2, 900, 910, 960, 1900, 1905, 1990, 2900, 2901, 2902], 6),
        # a steady grant every 100 ms: any edge will do
        (list(range(0, 3600, 100)), 20),
        # nothing after a first burst
        ([0, 1, 2], 0),
    ],
)
def test_the_cap_is_counted_between_bursts(grants: list[int], counted: int) -> None:
    assert granted_in_whole_windows(grants, 1000) == counted


@pytest.mark.parametrize(
    ("grants", "most"),
    [
        # four replicas of 3 each at the start, then 3 a window: what the whole windows do not show
        ([*range(12), 1100, 1101, 1102, 2100, 2101, 2102, 3100], 12),
        # the end of one window and the beginning of the next
        ([0, 998, 999, 1000, 1001, 1002, 2000, 2001, 2002], 5),
        (list(range(0, 3600, 100)), 10),
        ([], 0),
    ],
)
def test_the_most_in_a_window_are_looked_for_from_the_first_moment_on(grants: list[int], most: int) -> None:
    assert most_in_a_window(grants, 1000) == most


# --- a user's own -----------------------------------------------------------------------------------------------


@contextmanager
def limited_server(grants: int) -> Iterator[str]:
    """A server that lets through so many requests for ever, and no more."""
    left = iter(range(grants))
    with serving(lambda handler: say(handler, 204 if next(left, None) is not None else 503)) as port:
        yield f"http://127.0.0.1:{port}/"


def test_urls_of_replicas_that_run_already_are_stormed(cluster: Cluster, tmp_path: Path) -> None:
    with limited_server(30) as one, limited_server(30) as other:
        section = {"urls": [one, other], "limit": 20, "window_s": 0.4, "accepted": [204], "limited": [503]}
        report = storm_of(cluster, tmp_path, "rate-limit", {**section, "process_header": "Server"})
    figures = report.figures
    assert (figures["replicas"], figures["other_statuses"], report.missing) == (2, {}, ())
    assert figures["asked"] == figures["limited"] + 60
    assert list(figures["answered"].values()) == [figures["asked"]], "both have the same header"
    assert figures["scope_factor"] < 0.9, "what was let through in the first window is not the cap"


WORKERS = """
import os, sys, socket, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    window, left = 0.0, 0

    def do_POST(self):
        now, kind = time.monotonic(), type(self)
        if now >= kind.window:
            kind.window, kind.left = now + 0.5, 10
        kind.left -= 1
        self.send_response(400 if self.headers["X-Api-Key"] != "caller" else 200 if kind.left >= 0 else 429)
        self.send_header("Content-Length", "0")
        self.end_headers()

    log_message = lambda *_: None

class Server(HTTPServer):
    request_queue_size = 64

server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
for _ in range(3):
    if not os.fork():
        if sys.argv[2:]:
            time.sleep(60)
        break
server.serve_forever()
"""


def limit_of_workers(cluster: Cluster, folder: Path, *words: str, **section: object) -> StormReport:
    """Four processes accept at one socket, and each lets ten requests through in half a second."""
    script = folder / "workers.py"
    script.write_text(WORKERS)
    known = {
        "command": ["{python}", str(script), "{port}", *words],
        "processes": 4,
        "limit": 10,
        "window_s": 0.5,
        "method": "POST",
        "headers": {"X-Api-Key": "caller"},
    }
    return storm_of(cluster, folder, "rate-limit", {**known, **section}, 1)


def test_every_process_behind_one_port_is_asked(cluster: Cluster, tmp_path: Path) -> None:
    report = limit_of_workers(cluster, tmp_path, promised="process")
    assert verdicts(report) == {"storm.rate-limit.scope": "PASS"}, report.figures
    assert (report.figures["replicas"], report.figures["processes"]) == (1, 4)
    assert len(report.figures["answered"]) == 4


@pytest.mark.full
def test_where_one_process_answers_all_a_limit_of_each_is_not_taken_for_a_shared_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = limit_of_workers(cluster, tmp_path, "idle", promised="fleet")
    (gate,) = gates_of(report)
    assert (gate.verdict.value, report.figures["scope_factor"]) == ("INVALID", 1.0)
    assert gate.reason.startswith("1 of 4 processes answered, the others too seldom")


def test_each_process_would_let_through_its_share_up_to_the_limit() -> None:
    assert scope_factor_of_each({"7": 60, "9": 30, "11": 10}, 60.0, 20) == 2.2
    assert scope_factor_of_each({}, 60.0, 20) == 0


def test_a_url_beyond_this_machine_is_refused_unless_it_is_named_twice(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"allow-host 192\.0\.2\.1"):
        storm_of(cluster, tmp_path, "rate-limit", {"urls": ["http://192.0.2.1:9/"]})


def test_a_migrator_of_ones_own_that_counts_its_runs_fails_the_second_run(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "migrate.py"
    script.write_text(
        "import os, psycopg\n"
        "with psycopg.connect(os.environ['DB']) as c:\n"
        "    c.execute('SELECT pg_advisory_xact_lock(1)')\n"
        "    c.execute('CREATE TABLE IF NOT EXISTS runs (at timestamptz)')\n"
        "    if not c.execute('SELECT 1 FROM runs').fetchone():\n"
        "        c.execute('INSERT INTO runs VALUES (now())')\n"
        "    else:\n"
        "        c.execute('UPDATE runs SET at = clock_timestamp()')\n"
    )
    section = {"command": ["{python}", str(script)], "env": {"DB": "{admin_dsn}"}}
    report = storm_of(cluster, tmp_path, "migration-race", section, 2)
    assert verdicts(report) == {
        "storm.migration-race.once": "PASS",
        "storm.migration-race.exit": "PASS",
        "storm.migration-race.second-run": "FAIL",
    }
    assert report.figures["second_changes"] == ["public.runs: other rows"]


def test_a_migrator_that_cannot_migrate_alone_is_not_raced(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no way"):
        command = ["{python}", "-c", "raise SystemExit('no way')"]
        storm_of(cluster, tmp_path, "migration-race", {"command": command})


@pytest.mark.parametrize("name", STORMS)
def test_a_storm_that_was_asked_for_and_that_the_profile_leaves_out_is_invalid(
    cluster: Cluster, tmp_path: Path, name: str
) -> None:
    report = storm(storm_environment_for(cluster, tmp_path, with_storms()), name)
    assert f"no section [storms.{name}]" in report.not_run
    found = {gate.id: gate.verdict for gate in judge(Case(verb="storm", storms=(report,)))}
    assert found[f"storm.{name}"] is Verdict.INVALID


def test_a_pipeline_asks_for_no_storm_that_the_profile_leaves_out(tmp_path: Path) -> None:
    text = bundled_profile().read_text()
    path = tmp_path / "quiet.toml"
    path.write_text(text.replace('[storms.unknown-kid]\nsubject = "reference"\n', ""))
    assert path.read_text() != text
    verbs = [
        [
            step.arguments[0]
            for step in steps_of(ProfileChoice(profile, Origin.OPTION), 1, quick=False, seconds=1, workers=1)
        ]
        for profile in (bundled_profile(), path)
    ]
    assert verbs == [["run", "storm", "mix"], ["run", "mix"]]


TENANCY = """
import os, psycopg
role = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])["user"]
with psycopg.connect(os.environ["MIGRATION_DATABASE_URL"]) as c:
    c.execute("CREATE TABLE event (tenant uuid, cents int)")
    c.execute("INSERT INTO event SELECT gen_random_uuid(), 1 FROM generate_series(1, 3)")
    c.execute(f'GRANT ALL ON event TO "{role}"')
    c.execute("ALTER TABLE event ENABLE ROW LEVEL SECURITY")
    c.execute("CREATE POLICY own ON event USING (tenant = current_setting('app.tenant')::uuid)")
    c.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
              "$$ BEGIN RAISE 'ingested rows are kept' USING ERRCODE = 'U0001'; END $$")
    c.execute("CREATE TRIGGER refuse BEFORE UPDATE ON event FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
    c.execute("CREATE SEQUENCE turn")
    c.execute(f'GRANT ALL ON turn TO "{role}"')
"""
ENTER = "SELECT set_config('app.tenant', %(tenant)s, true)"


def tenancy(cluster: Cluster, folder: Path, tenants: int = 3, **changes: Any) -> StormReport:
    """A service of somebody else: its policy raises where no tenant is set, its guard has a code of its own."""
    script = folder / "tenancy.py"
    script.write_text(TENANCY.replace("generate_series(1, 3)", f"generate_series(1, {tenants})"))
    section = {
        "prepare": ["{python}", str(script)],
        "set_tenant_sql": ENTER,
        "read_sql": "SELECT tenant FROM event",
        "ingested_table": "event",
        **changes,
    }
    return storm_of(cluster, folder, "tenant-leak", section, 1)


def test_a_policy_that_raises_where_no_tenant_is_set_shows_nobody_anything(cluster: Cluster, tmp_path: Path) -> None:
    report = tenancy(cluster, tmp_path)
    assert (report.figures["errors"], report.figures["leaks"]) == ([], 0)
    assert report.figures["requests_of_nobody"] > 0
    assert report.figures["tenants_that_read"] == 3
    assert verdicts(report)["storm.tenant-leak.own"] == "PASS"


def test_tenants_that_nobody_lets_in_show_no_isolation(cluster: Cluster, tmp_path: Path) -> None:
    """The first to come is let in, which is when the rig tries the statement; after that nobody is."""
    once = f"{ENTER} FROM nextval('turn') AS turn WHERE 1 / (2 - least(turn, 2)) = 1"
    report = tenancy(cluster, tmp_path, set_tenant_sql=once)
    assert (report.figures["tenants_that_read"], report.figures["leaks"]) == (0, 0)
    found = verdicts(report)
    assert (found["storm.tenant-leak.own"], found["storm.tenant-leak.visible"]) == ("FAIL", "INVALID")


def test_each_of_many_tenants_has_its_turn(cluster: Cluster, tmp_path: Path) -> None:
    assert tenancy(cluster, tmp_path, tenants=90).figures["tenants_that_read"] == 90


@pytest.mark.parametrize("context", ["SET TRANSACTION READ ONLY", ENTER])
def test_a_worker_is_refused_in_whatever_words_the_server_has(cluster: Cluster, tmp_path: Path, context: str) -> None:
    report = tenancy(cluster, tmp_path, worker_context_sql=context, tamper_sql=["UPDATE event SET cents = 0"])
    assert report.figures["worker"] == {"tries": 3, "refused": 3, "changed": False, "effective": 0}
    assert verdicts(report)["storm.tenant-leak.worker"] == "PASS"


@pytest.mark.parametrize(("cents", "verdict"), [(7, "INVALID"), (1, "FAIL")])
def test_a_statement_that_finds_no_row_shows_no_guard(
    cluster: Cluster, tmp_path: Path, cents: int, verdict: str
) -> None:
    report = tenancy(
        cluster, tmp_path, worker_context_sql=ENTER, tamper_sql=[f"DELETE FROM event WHERE cents = {cents}"]
    )
    assert report.figures["worker"]["effective"] == (verdict == "FAIL")
    assert verdicts(report)["storm.tenant-leak.worker"] == verdict


def test_dead_letters_that_lay_there_before_are_none_of_the_worker(cluster: Cluster, tmp_path: Path) -> None:
    report = tenancy(cluster, tmp_path, **WORKER, dead_letters_sql="SELECT tenant, 'old' FROM event")
    assert report.figures["failed_jobs"] == {"made": 5, "found": 0, "others": 0}


WORKER = {"worker": ["{python}", "-c", "pass"], "enqueue_sql": "SELECT 1"}
TAMPER = {"worker_context_sql": ENTER, "tamper_sql": ["DELETE FROM event"]}


VIEW = """
import os, psycopg
role = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])["user"]
with psycopg.connect(os.environ["MIGRATION_DATABASE_URL"]) as c:
    c.execute("CREATE MATERIALIZED VIEW totals AS SELECT 'sum' AS name FROM pg_sleep(0.02)")
    c.execute("CREATE UNIQUE INDEX ON totals (name)")
    c.execute("CREATE TABLE refreshed (at timestamptz)")
    c.execute("CREATE FUNCTION refresh() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
              "PERFORM pg_advisory_xact_lock(1); IF NOT EXISTS (SELECT FROM refreshed) THEN "
              "REFRESH MATERIALIZED VIEW CONCURRENTLY totals; INSERT INTO refreshed VALUES (now()); END IF; END $$")
    c.execute("CREATE FUNCTION broken() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM nothing; END $$")
    c.execute(f'GRANT SELECT ON totals TO "{role}"')
"""


def view(cluster: Cluster, folder: Path, **changes: Any) -> StormReport:
    """A service of somebody else: its view is soon made, and a refresh that comes after another is left out."""
    script = folder / "view.py"
    script.write_text(VIEW)
    section = {
        "prepare": ["{python}", str(script)],
        "refresh_sql": "SELECT refresh()",
        "read_sql": "SELECT * FROM totals",
        **changes,
    }
    return storm_of(cluster, folder, "matview-refresh", section, 3)


def test_without_tenants_statements_are_taken_as_they_are_and_the_refresh_is_the_storms(
    cluster: Cluster, tmp_path: Path
) -> None:
    changes = {
        "refresh_sql": "SELECT refresh() WHERE 'a' LIKE '%'",
        "read_sql": "SELECT * FROM totals WHERE name LIKE '%m'",
    }
    report = view(cluster, tmp_path, **changes)
    assert (report.figures["ask_errors"], report.figures["read_errors"]) == ([], [])
    assert report.figures["refreshes"] == 1, "one beforehand would have been the last"
    found = verdicts(report)
    assert "FAIL" not in found.values(), "all is over so soon that who came late looks like one who waited"
    assert found["storm.matview-refresh.happens"] == "PASS"
    assert found["storm.matview-refresh.skip"] == "INVALID"


def test_a_function_that_is_broken_within_is_the_targets(cluster: Cluster, tmp_path: Path) -> None:
    report = view(cluster, tmp_path, refresh_sql="SELECT broken()")
    assert report.figures["ask_errors"] == ['UndefinedTable: relation "nothing" does not exist']
    assert verdicts(report)["storm.matview-refresh.happens"] == "FAIL"


@pytest.mark.parametrize(
    ("began", "done", "late"),
    [
        (0, 5, 0),
        (0, 900, 1),
        (799, 800, 1),
        (800, 805, 0),  # the refresh was over: there was nothing to wait for
    ],
)
def test_who_asks_after_the_refresh_has_not_waited_for_it(began: int, done: int, late: int) -> None:
    answers = [_Answered(1, "", 0, 800), _Answered(2, "", began, done)]
    readers = _Readers("", MatviewRefresh(refresh_sql="SELECT 1", read_sql="SELECT 1"))
    figures = refresh_figures(answers, [refresh(1, "totals", 800)], readers, None)
    assert (figures.skipped, figures.skipped_late) == (1, late)


def refresh(pid: int, view: str, took_ms: int) -> Note:
    ended = datetime.now(UTC)
    return Note(pid, "REFRESH MATERIALIZED VIEW", view, pid, ended - timedelta(milliseconds=took_ms), ended)


def test_who_skips_the_short_refresh_of_a_small_tenant_has_not_waited_for_it() -> None:
    """That of the large one takes long, so waiting would show there."""
    large = [_Answered(1, "large", 0, 800), _Answered(2, "large", 1, 10)]
    small = [_Answered(3, "small", 0, 4), _Answered(4, "small", 2, 5), _Answered(5, "small", 3, 9)]
    notes = [refresh(1, "of_large", 800), refresh(3, "of_small", 3), refresh(5, "of_small", 3)]
    section = MatviewRefresh(refresh_sql="SELECT 1", read_sql="SELECT 1", tenants=("large", "small"))
    figures = refresh_figures([*large, *small], notes, _Readers("", section), None)
    assert (figures.skipped, figures.skipped_late, figures.refreshed_in_turn) == (2, 0, 0)


def queue(cluster: Cluster, folder: Path, **changes: Any) -> StormReport:
    """The reference's queue, with two jobs."""
    raw = tomllib.loads(bundled_profile().read_text())["storms"]["scheduler-claim"]
    return storm_of(cluster, folder, "scheduler-claim", {**raw, "jobs": 2, **changes}, 1)


@pytest.mark.parametrize(
    ("run", "changes", "message"),
    [
        (tenancy, {**WORKER, "dead_letters_sql": "SELECT 1, 2, 3"}, "dead_letters_sql failed: .* 3 columns, not 2"),
        (tenancy, {**TAMPER, "tamper_sql": ["DELETE FROM evnt"]}, r'tamper_sql failed: relation "evnt"'),
        (tenancy, {**TAMPER, "tamper_sql": ["SELECT wipe()"]}, r"tamper_sql failed: function wipe\(\)"),
        (tenancy, {**TAMPER, "worker_context_sql": "SELECT 1 / 0"}, r"worker_context_sql failed: div"),
        (tenancy, {**TAMPER, "ingested_table": "evnt"}, r'ingested_table failed: relation "evnt"'),
        (tenancy, {"set_tenant_sql": "SET LOCAL app.tenant = %(tenant)s"}, r"set_tenant_sql failed: syntax error"),
        (tenancy, {"set_tenant_sql": "SELECT enter(%(tenant)s)"}, r"set_tenant_sql failed: function enter\("),
        (tenancy, {"set_tenant_sql": "SELECT 1 WHERE %(tenant)s <> ''"}, r"read_sql failed: "),
        (view, {"read_sql": "SELECT * FROM total"}, 'read_sql failed: relation "total"'),
        (view, {"read_sql": "SELECT '% ', %(tenant)s", "tenants": ["a"]}, "read_sql failed: incomplete place"),
        (view, {"refresh_sql": "SELECT refrsh()"}, r"refresh_sql failed: function refrsh\(\)"),
        (view, {"refresh_sql": "REFRESH MATERIALIZED VIEW total"}, 'refresh_sql failed: relation "total"'),
        (view, {"refresh_sql": "SELECT '% ', %(tenant)s", "tenants": ["a"]}, "refresh_sql failed: incomplete place"),
        (queue, {"unfinished_sql": "SELECT 'many'"}, "unfinished_sql must give one number"),
        (queue, {"enqueue_sql": "INSERT INTO job (name) VALUES (NULL)"}, "enqueue_sql failed: null value in column"),
        (queue, {"unfinished_sql": "SELECT 1 / 0"}, "unfinished_sql failed: division by zero"),
        (queue, {"unfinished_sql": "SELECT count(*) FROM job WHERE false"}, "unfinished_sql says that no job is"),
        (queue, {"effects_sql": "SELECT 'job 1'"}, "effects_sql finds 1 effects before any replica"),
        (queue, {"held_sql": "SELECT name FROM jobs"}, 'held_sql failed: relation "jobs" does not exist'),
        (queue, {"enqueue_sql": "SELECT %s, %(jobs)s"}, "enqueue_sql failed: "),
    ],
)
def test_a_mistake_in_a_statement_is_named_by_its_key(
    cluster: Cluster, tmp_path: Path, run: Callable[..., StormReport], changes: dict[str, Any], message: str
) -> None:
    name = {tenancy: "tenant-leak", view: "matview-refresh", queue: "scheduler-claim"}[run]
    with pytest.raises(ConfigError, match=rf"storms\.{name}\.{message}"):
        run(cluster, tmp_path, **changes)


def test_a_database_that_fails_in_a_storm_is_unavailable(
    environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no fault of the rig's: a whole run goes on to its verdict without the storm."""

    def failing(race: RaceTest[Any]) -> StormReport:
        race.environment.secrets.learn("its password")
        raise psycopg.OperationalError("cannot connect with its password\nmore")

    monkeypatch.setitem(vars(storms)["_RACE_TESTS"], "migration-race", failing)
    with pytest.raises(Unavailable, match=r"storm migration-race failed: cannot connect with \[secret of this run\]$"):
        storm(environment, "migration-race")


@pytest.mark.parametrize(
    ("times", "held", "unexplained"),
    [
        ({"a": 1, "b": 2}, ("b",), {}),
        ({"a": 2, "b": 1}, ("b",), {"a": 1}),  # a survivor's job was handed out twice
        ({"a": 1, "b": 3}, ("b",), {"b": 1}),
        ({"a": 2, "b": 2}, ("a", "b"), {}),
        ({"a": 2, "b": 1}, (), {"a": 1}),
    ],
)
def test_a_kill_explains_one_repeat_of_each_job_that_was_held(
    times: dict[str, int], held: tuple[str, ...], unexplained: dict[str, int]
) -> None:
    assert unexplained_repeats(times, held) == unexplained


def test_any_replica_may_be_killed_and_at_any_time_of_the_drain() -> None:
    drawn = [draw_kills(Random(seed), 4, 100) for seed in range(200)]
    assert drawn[7] == draw_kills(Random(7), 4, 100)
    assert {one.order[0] for one in drawn} == {0, 1, 2, 3}
    first, second = zip(*(one.after_jobs for one in drawn), strict=True)
    assert (min(first), max(first), min(second), max(second)) == (0, 39, 40, 79)


@pytest.mark.parametrize(("replicas", "kills"), [(1, 0), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_half_of_the_replicas_at_least_live_on(replicas: int, kills: int) -> None:
    assert len(draw_kills(Random(1), replicas, 10).after_jobs) == kills


def test_a_protection_that_the_target_cannot_do_without_is_refused() -> None:
    profile = with_storms(migration_race={"command": ["true"]})
    with pytest.raises(UsageError, match=r"\{without\}"):
        require(profile, Path(), "migration-race", StormOptions(without=("lock",)))


@pytest.mark.parametrize("word", ["{pythn}", "{python.bin}", "{port.real}", "{}", "{"])
def test_a_command_of_a_storm_that_cannot_be_filled_in_is_named_by_its_key(
    environment: StormEnvironment, word: str
) -> None:
    with pytest.raises(
        ConfigError, match=rf"^profile key storms\.some\.command: '{re.escape(word)}' .* known are {{python}}"
    ):
        environment.command([word], "storms.some.command", port="80")


# --- the command line -------------------------------------------------------------------------------------------


def test_rig_storm_leaves_a_pack_that_can_be_judged_again(tmp_path: Path) -> None:
    done = rig("storm", "tenant-leak", "--without", "transaction-scope", "--out", str(tmp_path), "--json")
    document = done.document()
    failed = [gate["id"] for gate in document["gates"] if gate["verdict"] == "FAIL"]
    assert (done.code, document["verdict"], failed) == (1, "FAIL", ["storm.tenant-leak.visible"]), done.err
    assert document["figures"]["leaks"] > 0 and document["figures"]["processes"] == 4
    pack = only_pack(tmp_path)
    assert (pack / "storms" / "tenant-leak.json").exists() and (pack / "ledger" / "tenant-leak.jsonl").exists()
    assert rig("check", str(pack), "--digest", document["digest"]).code == 1


@pytest.mark.parametrize(
    "words", [("hurricane",), ("rate-limit", "--without", "nothing"), ("rate-limit", "--processes", "0")]
)
def test_what_is_not_there_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = rig("storm", *words, "--out", str(tmp_path / "results"))
    assert done.code == 64, done.err


def test_what_members_say_is_told_without_secrets(
    environment: StormEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the DSNs in their environment, and exceptions may quote them."""

    def quoting(race: RaceTest[Any]) -> StormReport:
        with race.environment.database("quoted") as database:
            said = f"process 1 RuntimeError: cannot reach {database.runtime_dsn}"
        return StormReport(storm="rate-limit", case="rate-limit", missing=(said,), figures={"errors": [said]})

    monkeypatch.setitem(vars(storms)["_RACE_TESTS"], "rate-limit", quoting)
    (report,) = run_storm(environment, "rate-limit", StormOptions())
    assert isinstance(report, StormReport)
    assert report.missing == tuple(report.figures["errors"])
    assert "cannot reach postgresql://quoted_runtime:[secret of this run]@" in report.missing[0]
