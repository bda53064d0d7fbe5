"""Verb serve: what it refuses before it listens, and a dry run."""

from __future__ import annotations

import socket

import pytest

from support import tiny_bundle

TOKEN = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "lobby.fasb")


def refused(fasdk, *words):
    ran = fasdk("serve", *words)
    assert ran.status == 2 and ran.stdout == ""
    (line,) = [line for line in ran.error_lines if "warning" not in line]
    return line


def test_a_dry_run_opens_the_bundle_and_the_address_and_ends(fasdk, door, tmp_path):
    path = tmp_path / "door.sock"
    ran = fasdk("serve", door, "--socket", path, "--dry-run", "--backend", "onnxruntime")
    assert ran.status == 0, ran.stderr
    assert ran.stdout.split()[:2] == ["Ready:", f"unix:{path}"]
    assert "3 replayed" in ran.stdout
    assert not path.exists()


def test_one_address_is_needed(fasdk, door, tmp_path):
    assert "--socket PATH or --http" in refused(fasdk, door)
    both = refused(fasdk, door, "--socket", tmp_path / "s", "--http", "127.0.0.1:0")
    assert "only one" in both
    group = refused(fasdk, door, "--http", "127.0.0.1:0", "--socket-group", "root")
    assert "--socket-group is for --socket" in group


def test_an_address_that_others_reach_is_asked_for_outright_and_with_a_token(fasdk, door, tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    for more in ((), ("--beyond-loopback",), ("--token-file", token)):
        line = refused(fasdk, door, "--http", "0.0.0.0:0", *more)
        assert "no TLS" in line and "--token-file" in line
    ran = fasdk(
        *("serve", door, "--http", "0.0.0.0:0", "--beyond-loopback", "--token-file", token),
        *("--dry-run", "--backend", "onnxruntime"),
    )
    assert ran.status == 0, ran.stderr
    assert "has no TLS: put a proxy before it" in ran.stderr
    assert TOKEN not in ran.stderr + ran.stdout


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (TOKEN, 0o644, "chmod 600"),
        ("short", 0o600, "at least 32"),
        ("two words " * 8, 0o600, "holds no token"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_token_file_that_is_none_is_refused_without_showing_it(
    fasdk, door, tmp_path, text, mode, message
):
    token = tmp_path / "token"
    if text is not None:
        token.write_text(text)
        token.chmod(mode)
    line = refused(fasdk, door, "--socket", tmp_path / "s", "--token-file", token)
    assert message in line
    assert text is None or text not in line


def test_a_busy_port_a_wrong_bundle_and_a_wrong_limit_are_one_line(fasdk, door, tmp_path):
    with socket.socket() as live:
        live.bind(("127.0.0.1", 0))
        live.listen()
        address = f"127.0.0.1:{live.getsockname()[1]}"
        assert "taken by another process" in refused(fasdk, door, "--http", address)
    broken = tmp_path / "broken.fasb"
    broken.write_bytes(b"no bundle")
    assert str(broken) in refused(fasdk, broken, "--socket", tmp_path / "s")
    assert not (tmp_path / "s").exists()
    assert "deadline_ms" in refused(fasdk, door, "--socket", tmp_path / "s", "--deadline-ms", "nan")
    host = refused(fasdk, door, "--socket", tmp_path / "s", "--allow-host", "https://a")
    assert "--allow-host" in host
