"""Whatever lies in a profile's file: it loads, or a clear error names the file; and what loads makes clean requests."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rig.cli import main
from rig.errors import ConfigError, ExitCode
from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile, bundled_profile, load_profile
from rig.profile.load import read_toml
from rig.requests.address import Address
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from tests.fuzz.effort import few, many
from tests.fuzz.hostile import changed, from_schema, spoiled, texts

BYTES = bundled_profile().read_bytes()
REFERENCE = tomllib.loads(BYTES.decode())
SCHEMA = Profile.model_json_schema()
LONGEST_MESSAGE = 20_000


def loaded(file: Path) -> Profile | None:
    """The profile, or None where it was refused as it should be."""
    try:
        return load_profile(file)
    except ConfigError as error:
        message = str(error)
        assert str(file) in message
        assert len(message) < LONGEST_MESSAGE
        # What a stranger wrote into it must not speak to the terminal.
        assert all(char.isprintable() or char == "\n" for char in message.replace(str(file), "")), message
        return None


def validated(document: Any) -> Profile | None:
    """The same for a document that TOML could not even write down."""
    try:
        return Profile.model_validate(document)
    except ValidationError:
        return None


def requests_are_whole(profile: Profile) -> None:
    """One request of each class by each route: every header field on its line, and the body that they announce."""
    secrets = {route.secret: "s" for route in profile.routes}
    targeter = Targeter(profile, RunKey(1, "r", 1_800_000_000), Address("h:1"))
    for route in profile.routes:
        shares = tuple(Share(kind, 1) for kind in RequestClass if route.can_express(kind))
        scenario = Scenario("S2", "t", 1, route.name, ("A",), shares, Pace(1))
        try:
            targets = targeter.bind(scenario, {"A": Credentials("api-key", secrets)})
            signed = [targets.request(seq, 1_800_000_000) for seq in range(scenario.count)]
        except ConfigError:  # the body is no JSON, or a path leads nowhere: said when the run prepares
            continue
        for request in signed:
            head, _, body = request.partition(b"\r\n\r\n")
            line, *fields = head.split(b"\r\n")
            assert re.fullmatch(rb"POST /[\x21-\x7e]* HTTP/1\.1", line)
            names = {field.split(b":")[0].lower() for field in fields}
            assert len(names) == len(fields)
            assert names >= {b"host", b"content-type", b"content-length"}
            assert b"Content-Length: %d" % len(body) in fields
            assert b"\n" not in head.replace(b"\r\n", b"")
            assert b"\x00" not in head


def is_harmless(document: Any) -> None:
    profile = validated(document)
    if profile is not None:
        assert profile.digest()
        requests_are_whole(profile)


def is_read_or_refused(folder: Path, data: bytes) -> None:
    file = folder / "fuzzed.toml"
    file.write_bytes(data)
    profile = loaded(file)
    if profile is not None:
        requests_are_whole(profile)


@few(80)
@given(document=changed(REFERENCE))
def test_a_changed_reference_profile(document: Any) -> None:
    is_harmless(document)


@few(60)
@given(document=from_schema(SCHEMA, SCHEMA))
def test_a_profile_of_the_schema(document: Any) -> None:
    is_harmless(document)


@few(80)
@given(data=spoiled(BYTES) | st.binary(max_size=64))
def test_spoiled_bytes(tmp_path: Path, data: bytes) -> None:
    is_read_or_refused(tmp_path, data)


@many(1500)
@given(document=changed(REFERENCE) | from_schema(SCHEMA, SCHEMA))
def test_many_documents(document: Any) -> None:
    is_harmless(document)


@many(800)
@given(data=spoiled(BYTES) | st.binary(max_size=64))
def test_much_spoiled(tmp_path: Path, data: bytes) -> None:
    is_read_or_refused(tmp_path, data)


@few(40)
@given(key=texts)
def test_an_unknown_key_is_named_harmlessly(tmp_path: Path, key: str) -> None:
    escaped = "".join(f"\\U{ord(char):08x}" for char in key)
    is_read_or_refused(tmp_path, f'"{escaped}" = 1\n'.encode() + BYTES)


HOPELESS = {
    "two versions": b"version = 1\n" + BYTES,
    "two tables": BYTES + b"\n[headers]\n",
    "nested": b"x = " + b"[" * 100_000,
    "a key of many parts": b"a." * 60_000 + b"b = 1\n" + BYTES,
    "a table of many parts": b'[ "a" .' + b"'b'. c." * 30_000 + b"b]\n" + BYTES,
    "an inner key of many parts": b"x = {y = 1, " + b"a." * 60_000 + b"b = 1}\n" + BYTES,
    "a number of digits": b"x = " + b"9" * 10_000 + b"\n" + BYTES,
    "huge": b"#" * (3 << 20),
    "huge text": b'x = "' + b"A" * 500_000 + b'"\n' + BYTES,
    "a long name of a column": BYTES.replace(b"tenants.tenant_id", b"x" * 70_000),
    "not text": b"\xff\xfe" + BYTES,
    "nothing": b"",
    "a NUL": b"\x00",
    "control characters": b'"\\u001b[2J" = 1\n' + BYTES,
}


@pytest.mark.parametrize("name", HOPELESS)
def test_the_command_line_says_it_and_ends_in_78(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hopeless.toml"
    file.write_bytes(HOPELESS[name])
    results = tmp_path / "results"
    assert main(["ladder", "--profile", str(file), "--out", str(results)]) == ExitCode.CONFIG
    said = capsys.readouterr()
    assert said.err.partition("\n")[2].startswith(f"rig: profile {file} ")
    assert len(said.err) < LONGEST_MESSAGE
    assert "\x1b" not in said.err
    assert not said.out
    assert not results.exists()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/mem", "/", "a" * 5000])
def test_no_profile_at_all(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "--profile", path]) == ExitCode.CONFIG
    assert "Traceback" not in capsys.readouterr().err


def test_a_pipe_is_no_profile(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match=f"profile {pipe} cannot be read: it is a pipe, and a file is needed"):
        load_profile(pipe)


def test_a_text_with_many_dots_is_no_key() -> None:
    body = f'body = \'{{"at": "{"1." * 500}", "id": "<event>", "x": [{"1.5, " * 50}1]}}\'\n'
    assert read_toml(body)


def test_a_path_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile(Path("nowhere/\x00"))


def unbounded_numbers(schema: dict[str, Any], place: str) -> Iterator[str]:
    """The keys whose number may be of any size."""
    for name, each in schema.get("properties", {}).items():
        for choice in (each, each.get("items", {}), *each.get("anyOf", [])):
            if choice.get("type") in ("number", "integer") and "maximum" not in choice and "const" not in choice:
                yield f"{place}.{name}"


def test_every_number_of_a_profile_has_an_end() -> None:
    """A timer or a clock that is given 1e300 seconds ends in an OverflowError, far from the key."""
    found = {key for name, each in SCHEMA["$defs"].items() for key in unbounded_numbers(each, name)}
    # Two ceilings, that can only lower the rig's own, and a value that is sent and never counted.
    assert found == {"Target.max_requests", "Target.max_rate_per_s", "ContentField.constant"}


NUMERIC = {
    "--null-seconds": ("nan", "inf", "0", "-1", "1e9", "x"),
    "--floor": ("nan", "inf", "0", "-1"),
    "--workers": ("0", "-1", "65", "1e9", "99999999999999999999"),
    "--port": ("-1", "65536", "x"),
    "--seed": ("-1", "9223372036854775808", "1.5"),
    "--max-requests": ("0", "-1", "5000001"),
    "--max-rate": ("nan", "0", "-1", "50001", "inf"),
    "--max-seconds": ("nan", "inf", "0", "-1", "1e308"),
    "--rate": ("nan", "inf", "0", "-5", "1e300"),
    "-n": ("0", "-1", "99999999999999999999"),
    "--trials": ("0", "21"),
}


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in NUMERIC.items() for value in values])
def test_a_number_that_makes_no_sense_is_usage(
    flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["perf", flag, value, "--out", str(tmp_path / "results")]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert flag in said or "more than a run may send" in said
    assert "Traceback" not in said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("flag", ["--seconds", "--p95"])
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1", "1e308"])
def test_a_sustained_rate_is_finite(flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["perf", "--rate", "10", flag, value, "--out", str(tmp_path / "results")]
    assert main(words) == ExitCode.USAGE
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("chaos", "--minutes", "1e308"),
        ("chaos", "--rate", "1e308"),
        ("capacity", "--first", "1e308"),
        ("mix", "--users", "1000000"),
        ("mix", "--seconds", "99999999999999999999"),
        ("sample", "--dsn-env", "X", "--hz", "nan"),
        ("sample", "--dsn-env", "X", "--seconds", "0.4"),
        ("sample", "--dsn-env", "X", "--match", "("),
    ],
)
def test_a_number_that_no_run_can_have_is_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(words)) == ExitCode.USAGE
    assert words[-2] in capsys.readouterr().err
