"""Addresses: a socket for its owner alone, stale ones replaced, taken ones refused."""

from __future__ import annotations

import grp
import os
import socket
import stat

import pytest

from fasdk.errors import UsageError
from fasdk_tools.serving.listening import TcpAddress, UnixAddress, listening


def mode_of(path):
    return path.lstat().st_mode & 0o777


def test_a_socket_is_its_owners_and_goes_with_the_service(tmp_path):
    path = tmp_path / "door.sock"
    before = os.umask(0)
    try:
        with listening(UnixAddress(path)):
            assert stat.S_ISSOCK(path.lstat().st_mode) and mode_of(path) == 0o600
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(str(path))
            assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_group_may_use_it_too_where_it_is_named(tmp_path):
    group = grp.getgrgid(os.getgid()).gr_name
    path = tmp_path / "door.sock"
    with listening(UnixAddress(path, group)):
        assert mode_of(path) == 0o660 and path.lstat().st_gid == os.getgid()
    with pytest.raises(UsageError, match="no group"), listening(UnixAddress(path, "no-such-one")):
        pass


def test_a_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening(UnixAddress(path)), socket.socket(socket.AF_UNIX) as end:
        end.connect(str(path))


def test_a_live_socket_is_refused_also_one_that_answers_nothing(tmp_path):
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        ends = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        try:
            for end in ends:  # fill its queue
                end.setblocking(False)
                end.connect_ex(str(path))
            with pytest.raises(UsageError, match="taken by another"), listening(UnixAddress(path)):
                pass
        finally:
            for end in ends:
                end.close()
    assert path.exists()


def test_two_services_do_not_share_a_path(tmp_path):
    address = UnixAddress(tmp_path / "door.sock")
    with listening(address):
        with pytest.raises(UsageError, match="taken by another"), listening(address):
            pass
        assert address.path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "door.sock"
    path.write_text("a file")
    with pytest.raises(UsageError, match="no socket"), listening(UnixAddress(path)):
        pass
    assert path.read_text() == "a file"
    absent, long = UnixAddress(tmp_path / "absent" / "s"), UnixAddress(tmp_path / ("x" * 120))
    with pytest.raises(UsageError, match="No such file"), listening(absent):
        pass
    with pytest.raises(UsageError, match="at most 107"), listening(long):
        pass


def test_a_busy_port_is_refused_in_one_line():
    with socket.socket() as live:
        live.bind(("127.0.0.1", 0))
        live.listen()
        port = live.getsockname()[1]
        taken = TcpAddress("127.0.0.1", port)
        with pytest.raises(UsageError, match=f":{port} is taken by another"), listening(taken):
            pass


@pytest.mark.parametrize(
    ("text", "host", "is_loopback"),
    [
        ("127.0.0.1:80", "127.0.0.1", True),
        ("localhost:80", "127.0.0.1", True),
        ("[::1]:80", "::1", True),
        ("0.0.0.0:80", "0.0.0.0", False),  # noqa: S104 - it is what must be told
        ("192.168.1.7:80", "192.168.1.7", False),
        ("[::]:80", "::", False),
    ],
)
def test_an_address_says_whether_others_reach_it(text, host, is_loopback):
    address = TcpAddress.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, 80, is_loopback)


@pytest.mark.parametrize("text", ["", "80", ":80", "door.example:80", "127.0.0.1:99999", "::1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="expected NUMBER:PORT"):
        TcpAddress.parse(text)
