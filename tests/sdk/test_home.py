"""The account's folder: where it is, its mode, and which folders are refused."""

from __future__ import annotations

import os
import stat

import pytest

from fasdk.errors import HomeError
from fasdk.home import existing_folder, home_folder, home_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_folders_are_created_for_their_owner_alone(home):
    assert home_folder("state", "door") == home / "state" / "door"
    for folder in (home, home / "state", home / "state" / "door"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_looking_creates_nothing(home):
    assert home_path() == home
    assert existing_folder("trust") is None
    assert not home.exists()
    home_folder()
    assert existing_folder() == home
    assert existing_folder("trust") is None
    assert list(home.iterdir()) == []


def test_without_the_variable_it_is_in_the_data_folder_and_else_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASDK_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home_path() == tmp_path / "data" / "fasdk"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", ignored)
        assert home_path() == tmp_path / ".local" / "share" / "fasdk"


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
@pytest.mark.parametrize("below", [(), ("trust",)])
def test_a_folder_others_can_write_is_refused_until_its_mode_is_mended(home, mode, below):
    folder = home_folder(*below)
    folder.chmod(mode)
    for ask in (home_folder, existing_folder):
        with pytest.raises(HomeError, match=rf"mode {mode:04o}.*chmod go-w '{folder}'"):
            ask("trust")
    folder.chmod(mode & ~0o022)
    assert home_folder("trust") == home / "trust"


def test_a_link_of_another_account_is_refused_and_the_accounts_own_is_followed(
    home, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    home.symlink_to(tmp_path / "elsewhere")
    assert existing_folder() == home
    if os.geteuid() == 0:
        os.chown(home, 4321, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    for ask in (home_folder, existing_folder):
        with pytest.raises(HomeError, match=r"home is a link and belongs to account \d+"):
            ask()


def test_a_folder_of_another_account_is_refused(home, monkeypatch):
    home_folder()
    if os.geteuid() == 0:
        os.chown(home, 4321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(HomeError, match=r"belongs to account \d+, expected \d+ or root"):
        home_folder()


def test_a_file_in_its_place_and_a_parent_that_cannot_be_made_are_refused(home, monkeypatch):
    home.write_text("")
    with pytest.raises(HomeError, match="is no folder"):
        home_folder()
    monkeypatch.setenv("FASDK_HOME", str(home / "below"))
    with pytest.raises(HomeError, match=r"cannot create .*FASDK_HOME"):
        home_folder()
