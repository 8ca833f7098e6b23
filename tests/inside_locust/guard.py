"""Who gets into the web UI, by plain HTTP, route by route. ``tests/locust/test_inside.py`` runs this."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from locust.env import Environment
from locust.web import WebUI
from werkzeug.test import Client

from rig.locust_bridge import master_ui
from rig.locust_bridge.master_guard import guard
from rig.machine.child import free_port

TOKEN = "the-token"
HOST = "127.0.0.1:8089"
OWN = f"http://{HOST}"
COOKIE = f"rig-ui-8089={TOKEN}"
RIG = ("/rig", "/rig/state", "/rig/pack")


def a_ui(web_host: str = "127.0.0.1") -> WebUI:
    """Locust's own application with routes of the rig; none of them is ever reached without the token."""
    ui = Environment().create_web_ui(web_host, 8089, delayed_start=True)
    assert ui.app is not None
    for path in RIG:
        ui.app.add_url_rule(path, path, lambda: "the rig's")
    return ui


def guarded(web_host: str = "127.0.0.1", *names: str) -> Client:
    """A client of it."""
    ui = a_ui(web_host)
    guard(ui, TOKEN, names)
    assert ui.app is not None
    return Client(ui.app, use_cookies=False)


def ask(client: Client, path: str, method: str = "GET", host: str = HOST, **headers: str) -> Any:
    """One answer."""
    said: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.open(path, method=method, headers={"Host": host, **said})


ROUTES = [
    (method, rule.rule.replace("<path:path>", "index.js").replace("<path:filename>", "index.js"))
    for rule in a_ui().app.url_map.iter_rules()  # type: ignore[union-attr]
    for method in sorted(rule.methods or ())
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_refuses_a_foreign_name_a_foreign_page_and_whoever_has_no_token(method: str, path: str) -> None:
    client = guarded()
    assert ask(client, path, method, host="evil.example:8089", Cookie=COOKIE, Origin=OWN).status_code == 403
    assert ask(client, path, method, Cookie=COOKIE, Origin="http://evil.example").status_code == 403
    assert ask(client, path, method).status_code == 403
    assert ask(client, path, method, Cookie=COOKIE, Origin=OWN).status_code != 403
    assert ask(client, path, method, Authorization=f"Bearer {TOKEN}").status_code != 403


def test_no_answer_may_be_read_by_another_page() -> None:
    for headers in ({}, {"Cookie": COOKIE}, {"Cookie": COOKIE, "Origin": OWN}, {"Origin": "http://evil.example"}):
        answer = ask(guarded(), "/logs", **headers)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"host": ""}, "not served under the name"),
        ({"host": "127.0.0.1.evil.example"}, "not served under the name '127.0.0.1.evil.example'"),
        ({"host": "evil.example@127.0.0.1"}, "not served under the name"),
        ({"Origin": "null"}, "a page of another origin (null)"),
        ({"Origin": "http://127.0.0.1:3000"}, "a page of another origin (http://127.0.0.1:3000)"),
        ({"Origin": "http://[bad"}, "a page of another origin"),
        ({"Origin": f"{OWN}\x1b[31m"}, "\\x1b[31m"),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"}, "another origin"),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, "another origin"),
        ({"Cookie": "rig-ui-8089=wrong"}, "it ends in /?token="),
        ({"Cookie": "rig-ui-8090=the-token"}, "it ends in /?token="),
        ({"Cookie": "", "Authorization": "Bearer wr\xf6ng"}, "it ends in /?token="),
    ],
)
def test_who_is_refused_is_told_why(headers: dict[str, str], said: str) -> None:
    answer = ask(guarded(), "/rig/state", **({"Cookie": COOKIE} | headers))
    assert answer.status_code == 403
    assert said in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8089", "localhost:8089", "LOCALHOST", "[::1]:9000", "10.1.2.3:8089"])
def test_loopback_and_the_web_host_are_own_names(host: str) -> None:
    assert ask(guarded("10.1.2.3"), "/rig", host=host, Cookie=COOKIE).text == "the rig's"


@pytest.mark.parametrize(
    ("host", "origin"), [("rig.example", "https://rig.example"), (HOST, "https://rig.example:444")]
)
def test_a_proxy_that_is_named_is_let_in_with_the_token(host: str, origin: str) -> None:
    client = guarded("127.0.0.1", "rig.Example")
    assert ask(client, "/stats/reset", "POST", host, Origin=origin).status_code == 403
    assert ask(client, "/stats/reset", "POST", host, Origin=origin, Cookie=COOKIE).text == "ok"


def test_a_cookie_that_another_port_puts_before_the_own_one_locks_nobody_out() -> None:
    client = guarded()
    assert ask(client, "/rig", Cookie=f"rig-ui-8089=planted; {COOKIE}").text == "the rig's"
    assert ask(client, "/rig", Cookie="rig-ui-8089=planted; rig-ui-8089=").status_code == 403


def test_what_changes_something_needs_more_than_the_cookie() -> None:
    answer = ask(guarded(), "/stats/reset", "POST", Cookie=COOKIE)
    assert (answer.status_code, "names no Origin" in answer.text) == (403, True)


def test_the_token_in_an_address_becomes_a_cookie_that_no_other_site_sends() -> None:
    answer = ask(guarded(), f"/rig?token={TOKEN}&theme=dark")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/rig?theme=dark")
    cookie = answer.headers["Set-Cookie"]
    assert all(part in cookie for part in (COOKIE, "HttpOnly", "SameSite=Strict", "Path=/"))
    assert ask(guarded(), "/?token=wrong").status_code == 403
    outside = {"PATH_INFO": "//evil.example/\\", "QUERY_STRING": f"token={TOKEN}", "HTTP_HOST": HOST}
    assert guarded().open("/", environ_overrides=outside).headers["Location"] == "/evil.example/%5C"


@pytest.mark.parametrize(("base", "path"), [(None, ""), ("/load", "/load"), ("/a/b/", "/a/b")])
def test_the_address_that_is_printed_opens_the_ui(
    base: str | None, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ui = Environment().create_web_ui("0.0.0.0", 8089, web_base_path=base, delayed_start=True)
    master_ui.add_tabs(ui, SimpleNamespace())  # type: ignore[arg-type]
    guard(ui, "", ())
    said = re.fullmatch(r"rig: the web UI is at http://([^/\s]+)(/\S*\?token=[\w-]{20,})\n", capsys.readouterr().err)
    assert said is not None
    assert ui.app is not None
    client = Client(ui.app)
    assert client.get(said[2], headers={"Host": said[1]}).headers["Location"] == f"{path}/"
    for place in ("/", "/rig"):
        page = client.get(path + place, headers={"Host": said[1]})
        assert "<title>The rig</title>" in page.text
        assert not re.search(r'(href="|fetch\("|post\(")/', page.text), "an address that leaves the base path"


@pytest.mark.parametrize("base", [None, "/load"])
def test_locusts_page_leads_to_the_first_one_and_both_are_behind_the_door(
    base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["locust"])  # its page has the fields of its command line
    environment = Environment()
    environment.create_master_runner("127.0.0.1", free_port())
    ui = environment.create_web_ui("127.0.0.1", 8089, web_base_path=base, delayed_start=True)
    master_ui.add_tabs(ui, SimpleNamespace())  # type: ignore[arg-type]
    guard(ui, TOKEN, ())
    assert ui.app is not None
    client = Client(ui.app)
    for path in ("/", "/locust", "/rig", "/rig/state", "/rig/pack", "/rig/report"):
        assert client.get((base or "") + path, headers={"Host": "127.0.0.1:8089"}).status_code == 403, path
    page = client.get(f"{base or ''}/locust", headers={"Host": "127.0.0.1:8089", "Authorization": f"Bearer {TOKEN}"})
    assert '<a href="./">The rig' in page.text
    assert "window.templateArgs" in page.text
    environment.runner.quit()  # type: ignore[union-attr]


def test_a_token_of_the_users_own_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    guard(a_ui(), TOKEN, ())
    said = capsys.readouterr().err
    assert "/?token=$RIG_WEB_TOKEN\n" in said
    assert TOKEN not in said
