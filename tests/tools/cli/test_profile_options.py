"""Options of verb profile that do not go together, and outputs that would replace something."""

from __future__ import annotations

import errno
import os

import pytest

from fasdk_tools.terminal.profile import backlog_text

from support import tiny_bundle

FIND = ("--find", "p99<=30ms@20/s")
DOORS = ("--doors", "2", "--fps", "5", "--deadline", "200")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("options") / "tiny.fasb")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*FIND, "--html", "x.html"), "--html does not go together with --find"),
        ((*FIND, "--samples", "x.npz"), "--samples does not go together with --find"),
        ((*FIND, "--load", "poisson", "--rate", "3"), "--load does not go together with --find"),
        ((*FIND, "--lanes", "2"), "--lanes does not go together with --find"),
        ((*FIND, *DOORS), "--deadline does not go together with --find"),
        ((*FIND, "--against", "other.fasb"), "--find does not go together with --against"),
        ((*DOORS, "--trace", "x.trace"), "--trace does not go together with --doors"),
        ((*DOORS, "--until", "p99"), "--until does not go together with --doors"),
        ((*DOORS, "--lanes", "1,2"), "--doors takes one number of lanes"),
        (("-o", "policy.json"), "-o does not go together with --load closed"),
        (("--against", "x", "-o", "x"), "-o does not go together with --against"),
        (("--cameras", "4"), "--cameras does not go together with --load closed"),
        (("--calls", "9"), "--calls does not go together with --load closed"),
        (("--load", "idle", "--lanes", "2"), "--lanes does not go together with --load idle"),
        (("--tolerance", "0.3"), "--tolerance is for a comparison: give --baseline or --against"),
        (("--threads", "-1"), "--threads is -1, expected 0, for one a core, to 1,000"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(fasdk, tiny, words, said):
    ran = fasdk("profile", tiny, *words)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert said in line


@pytest.mark.parametrize("option", ["--samples", "--html", "--trace"])
def test_an_output_replaces_neither_an_input_nor_a_pipe_nor_another_output(
    fasdk, tiny, tmp_path, option
):
    before = tiny.read_bytes()
    pipe, link = tmp_path / "pipe", tmp_path / "link.fasb"
    os.mkfifo(pipe)
    link.symlink_to(tiny)
    other = "--html" if option == "--samples" else "--samples"
    both = tmp_path / "both"
    for words, said in (
        ((option, tiny), "is also the bundle"),
        ((option, link), "is also the bundle"),
        ((option, pipe), "a device, a pipe"),
        ((option, tmp_path), "it is a folder"),
        ((option, both, other, both), "give it a file of its own"),
    ):
        ran = fasdk("profile", tiny, *words)
        assert ran.status == 2, words
        (line,) = ran.error_lines
        assert said in line
    assert tiny.read_bytes() == before
    assert pipe.is_fifo()
    assert not both.exists()


def test_an_error_on_a_full_disk_is_one_line_too(fasdk, tmp_path, monkeypatch):
    def full(_document):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fasdk_tools.cli.print_json_line", full)
    ran = fasdk("profile", tmp_path / "absent.fasb", "--json")
    assert ran.status == 2
    assert len(ran.error_lines) == 1


def test_an_interrupt_is_said(fasdk, tiny, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fasdk_tools.profiling.run.run_profile", interrupted)
    ran = fasdk("profile", tiny)
    assert ran.status == 130
    assert ran.error_lines == ["fasdk: interrupted"]


@pytest.mark.parametrize(
    ("growth_per_s", "said"),
    [
        (-0.001, "does not grow"),
        (2.5, "grows by 2.50 captures/s"),
        (-2.5, "shrinks by 2.50 captures/s"),
    ],
)
def test_a_backlog_is_said_as_it_moved(growth_per_s, said):
    assert backlog_text(growth_per_s) == said
