"""The variables that libpq reads (``PGSSLMODE``, ``PGOPTIONS``, …): they complete the user's DSNs and reach no others.

libpq applies them to every connection of a process, also to servers that the rig starts itself. ``withdraw`` takes them
out of the process when it starts. ``complete`` adds them to a DSN that the user gave; ``without`` keeps them from
programs that connect to a server of the rig's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rig.errors import ConfigError

_KEYWORDS = {
    option.envvar.decode(): option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar
}
_SESSION_ONLY = ("PGDATESTYLE", "PGTZ", "PGGEQO")
"""Settings of the session that no DSN can carry. The rig's own queries depend on none."""
_OURS = ("application_name", "client_encoding", "connect_timeout")
"""Parameters that the rig gives itself, in each connection."""

withdrawn: dict[str, str] = {}
"""What ``withdraw`` took out of this process."""


def withdraw() -> None:
    """Take the variables out of this process, before its first connection."""
    for name in (*_KEYWORDS, *_SESSION_ONLY):
        if name in os.environ:
            withdrawn[name] = os.environ.pop(name)


def at(dsn: str, address: tuple[str, int]) -> str:
    """The same DSN, in the same form, for a server at another address."""
    if "://" not in dsn:
        words = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if name != "hostaddr"}
        return make_conninfo(**{**words, "host": address[0], "port": str(address[1])})
    parts = urlsplit(dsn)
    login, at_sign, _ = parts.netloc.rpartition("@")
    given = parse_qsl(parts.query.replace("+", "%2B"))  # libpq takes a + as it is
    query = urlencode([each for each in given if each[0] not in ("host", "hostaddr", "port")], quote_via=quote)
    return parts._replace(netloc=f"{login}{at_sign}{address[0]}:{address[1]}", query=query).geturl()


def without(environ: Mapping[str, str], *, is_plain: bool = False) -> dict[str, str]:
    """The environment without these variables.

    ``is_plain``: the server has no TLS. Then it says so, because some drivers (Go's lib/pq) insist on TLS by default.
    """
    left = {name: value for name, value in environ.items() if name not in _KEYWORDS and name not in _SESSION_ONLY}
    return left | {"PGSSLMODE": "disable"} if is_plain else left


def _is_place(hosts: str, ports: str) -> bool:
    """Whether servers may be there: names, addresses or folders of sockets, and numbers."""
    numbers = [port for port in ports.split(",") if port]
    return all("@" not in host[1:] for host in hosts.split(",")) and all(
        port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535 for port in numbers
    )


def complete(dsn: str, variable: str) -> str:
    """A DSN of the user with what it leaves to the environment; ConfigError names the variable where it is none."""
    dsn = dsn.strip()  # of a file, the line end
    try:
        given = conninfo_to_dict(dsn)
        is_place = _is_place(str(given.get("host") or ""), str(given.get("port") or ""))
    except (psycopg.ProgrammingError, UnicodeEncodeError):
        given, is_place = {}, False
    # What stands at a wrong place may be a piece of the password: libpq and the resolver would repeat it.
    if not is_place or not dsn.isprintable():
        raise ConfigError(
            f"{variable} holds no PostgreSQL DSN; give postgresql://user:password@host:port/database. In a password @ "
            "is written %40, / is %2F and % is %25"
        ) from None
    more = {
        keyword: withdrawn[name]
        for name, keyword in _KEYWORDS.items()
        if name in withdrawn and keyword not in given and keyword not in _OURS
    }
    if not more:
        return dsn
    if "://" not in dsn:
        return make_conninfo(dsn, **more)
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(more, quote_via=quote)}"
