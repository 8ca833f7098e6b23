"""A pasted curl command as one request: method, address, headers, body. Pure but for files that it names.

Bash and cmd quoting are understood, as browsers, Postman and the docs of senders write it. What follows the command
after a pipe or a semicolon is not read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

from rig.errors import UsageError
from rig.machine.files import open_file

_FILE_BYTES_MAX = 1 << 20
_METHODS = ("POST", "PUT", "PATCH")
_BODY = {"-d", "--data", "--data-ascii", "--data-raw", "--data-binary", "--data-urlencode", "--json"}
_TAKES = _BODY | {"-H", "--header", "-X", "--request", "-u", "--user", "--url", "-A", "--user-agent"}
_SKIPPED = {
    "-o", "--output", "-e", "--referer", "-b", "--cookie", "-c", "--cookie-jar", "-m", "--max-time",
    "--connect-timeout", "--retry", "--retry-delay", "-x", "--proxy", "-w", "--write-out", "--cacert", "-E", "--cert",
    "--key", "--resolve", "--connect-to", "--interface", "-D", "--dump-header", "--max-redirs", "--limit-rate",
    "--ciphers",
}  # fmt: skip
_FLAGS = {
    "-s", "--silent", "-S", "--show-error", "-i", "--include", "-v", "--verbose", "-L", "--location", "-f", "--fail",
    "-k", "--insecure", "--compressed", "-g", "--globoff", "-N", "--no-buffer", "-#", "--progress-bar", "--http1.1",
    "--http2", "--http1.0", "-0", "--fail-with-body", "-4", "-6", "--path-as-is", "--tr-encoding", "--no-keepalive",
}  # fmt: skip
_REFUSED = {
    "-F": "a multipart form, which no profile can say",
    "--form": "a multipart form, which no profile can say",
    "--form-string": "a multipart form, which no profile can say",
    "-T": "an upload of a file, which is no event",
    "--upload-file": "an upload of a file, which is no event",
    "-K": "a file with options; paste the options themselves",
    "--config": "a file with options; paste the options themselves",
    "--next": "several requests; paste one of them",
    "-I": "a HEAD request, which has no event",
    "--head": "a HEAD request, which has no event",
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b", "0": "\0"}
_ANSI = re.compile(r"\\(?:u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CurlRequest:
    """What a curl command sends. ``user`` is ``name:password`` of Basic authentication."""

    base_url: str
    path: str
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    user: str = field(default="", repr=False)


def parse_curl(text: str, folder: Path = Path()) -> CurlRequest:
    """The request of a curl command; UsageError names what cannot be taken over, and why."""
    words = split_command(text)
    if not words or Path(words[0]).name.removesuffix(".exe") != "curl":
        raise UsageError("--from-curl: the text must begin with the word curl; paste one whole curl command")
    options = list(_options(words[1:]))
    given: dict[str, list[str]] = {}
    for name, value in options:
        given.setdefault(name, []).append(value)
    urls = given.get("--url", [])
    if len(urls) != 1:
        raise UsageError(f"--from-curl: the command has {len(urls) or 'no'} URLs; it must have one")
    data = [_data(name, value, folder) for name, value in options if name in _BODY]
    body = (b"" if "--json" in given else b"&").join(data)
    method = given.get("-X", ["POST" if data and "-G" not in given else "GET"])[-1].upper()
    if method not in _METHODS or not data or "-G" in given:
        raise UsageError(
            f"--from-curl: it is a {method} request {'with' if data and '-G' not in given else 'without'} a body; an "
            f"event has a body (-d) and is sent with one of {', '.join(_METHODS)}"
        )
    headers = [_header(value) for value in given.get("-H", [])]
    headers += [("User-Agent", agent) for agent in given.get("-A", [])]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(
            ("Content-Type", "application/json" if "--json" in given else "application/x-www-form-urlencoded")
        )
    return _request(urls[0], method, headers, body, given.get("-u", [""])[-1])


def split_command(text: str) -> list[str]:
    """The words of the first command of a text, unquoted."""
    text = re.sub(r"^\s*(?:[$>#%]\s+)?", "", text.replace("\r\n", "\n").removeprefix("\ufeff"))
    if re.search(r'\^[ \t]*\n|\^"', text):
        return _split_cmd(text)
    return _split_bash(text)


def _split_bash(text: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            if text[at + 1 : at + 2] != "\n":
                word = (word or "") + text[at + 1 : at + 2]
            at += 2
        elif letter == "'" or text.startswith("$'", at):
            piece, at = _single(text, at) if letter == "'" else _ansi(text, at + 1)
            word = (word or "") + piece
        elif letter == '"' or text.startswith('$"', at):
            piece, at = _double(text, at + (letter == "$"))
            word = (word or "") + piece
        elif letter in " \t":
            words, word, at = [*words, word] if word is not None else words, None, at + 1
        elif letter in "\n|;&<>" and not (letter == "\n" and not words and word is None):
            break
        else:
            word, at = (word or "") + letter, at + 1
    return [*words, word] if word is not None else words


def _single(text: str, at: int) -> tuple[str, int]:
    end = text.find("'", at + 1)
    return text[at + 1 : _close(end)], end + 1


def _ansi(text: str, at: int) -> tuple[str, int]:
    end = at + 1
    while text[end : end + 1] not in ("'", ""):
        end += 2 if text[end] == "\\" else 1
    _close(end if text[end : end + 1] else -1)

    def letter(match: re.Match[str]) -> str:
        four, eight, two, octal, plain = match.groups()
        if four or eight or two:
            number = int(four or eight or two, 16)
            return chr(number) if number <= sys.maxunicode else "\ufffd"
        return chr(int(octal, 8)) if octal else _ESCAPES.get(plain, plain)

    said = _ANSI.sub(letter, text[at + 1 : end])
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), end + 1  # pairs of \u become one


def _double(text: str, at: int) -> tuple[str, int]:
    said, at = "", at + 1
    while text[at : at + 1] != '"':
        _close(at if at < len(text) else -1)
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\", "$", "`", "\n"):
            said += text[at + 1].replace("\n", "")
            at += 2
        else:
            said, at = said + text[at], at + 1
    return said, at + 1


def _close(end: int) -> int:
    if end < 0:
        raise UsageError("--from-curl: a quote is opened and never closed; paste the whole command")
    return end


def _split_cmd(text: str) -> list[str]:
    """Of the Windows command line: a caret takes the next letter as it is, then quotes as programs there read them."""
    text = re.sub(r"\^\n\n", "\0", text)
    text = re.sub(r"\^(\n|.)", lambda match: match.group(1).replace("\n", ""), text).replace("\0", "\n")
    words: list[str] = []
    word, quoted = "", False
    for piece in re.findall(r'\\+"|""|"|\s|[^"\\\s]+|\\+', text.replace("%^", "%")):
        if piece.endswith('"') and piece.startswith("\\"):
            slashes = len(piece) - 1
            word += "\\" * (slashes // 2) + ('"' if slashes % 2 else "")
            quoted ^= not slashes % 2
        elif piece == '""':
            word += '"' if quoted else "\0"
        elif piece == '"':
            quoted, word = not quoted, word or "\0"
        elif piece.isspace() and not quoted:
            words, word = [*words, word] if word else words, ""
        else:
            word += piece
    return [each.replace("\0", "") for each in ([*words, word] if word else words)]


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value, by one name; a word that is none is a URL."""
    long = {"--header": "-H", "--request": "-X", "--user": "-u", "--user-agent": "-A", "--get": "-G"}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "--url", word
            continue
        name, joined = (word, "") if word.startswith("--") else (word[:2], word[2:])
        while True:
            if name in _REFUSED:
                raise UsageError(f"--from-curl: {name} means {_REFUSED[name]}")
            if name in _TAKES or name in _SKIPPED:
                value = joined or next(rest, None)
                if value is None:
                    raise UsageError(f"--from-curl: {name} has no value; paste the whole command")
                if name in _TAKES:
                    yield long.get(name, name), value
                break
            if name not in _FLAGS and name not in ("-G", "--get"):
                raise UsageError(f"--from-curl: the option {name} is not known here; take it out of the command")
            yield long.get(name, name), ""
            if not joined:
                break
            name, joined = f"-{joined[0]}", joined[1:]


def _data(name: str, value: str, folder: Path) -> bytes:
    if name == "--data-urlencode":
        key, equals, rest = value.partition("=")
        if not equals and "@" in value:
            key, _, file = value.partition("@")
            return (f"{key}=" if key else "").encode() + quote_plus(_read(file, folder)).encode()
        return (f"{key}=" if key and equals else "").encode() + quote_plus(rest if equals else key).encode()
    if not value.startswith("@") or name == "--data-raw":
        return value.encode("utf-8", "surrogatepass")
    data = _read(value[1:], folder)
    return data if name in ("--data-binary", "--json") else data.replace(b"\r", b"").replace(b"\n", b"")


def _read(file: str, folder: Path) -> bytes:
    if file == "-":
        raise UsageError("--from-curl: the body comes from standard input (@-); write it into a file and name that")
    try:
        with open_file(folder / file) as source:
            return source.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"--from-curl: the file @{file} of the command cannot be read: {error}") from None


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if not name.strip() or text.startswith("@"):
        raise UsageError(f"--from-curl: the header {name[:40]!r} has no name and value; write it as 'Name: value'")
    return name.strip(), value.strip()


def _request(url: str, method: str, headers: list[tuple[str, str]], body: bytes, user: str) -> CurlRequest:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise UsageError("--from-curl: the URL is none of http or https; write it like http://127.0.0.1:8080/webhooks")
    if parts.username is not None:
        user = user or f"{parts.username}:{parts.password or ''}"
    name = f"[{host}]" if ":" in host else host
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return CurlRequest(f"{parts.scheme}://{name}{f':{port}' if port else ''}", path, method, tuple(headers), body, user)
