"""The number of arenas that a process's threads allocate from."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Each thread allocates 1 MB in pieces that are not mapped one by one, while all others hold theirs.
PROGRAM = """
import ctypes, sys, threading
from fasdk.malloc_arenas import limit_malloc_arenas
if sys.argv[1] == "limited":
    assert limit_malloc_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(9)
def work():
    held = [libc.malloc(10_000) for _ in range(100)]
    together.wait()
    together.wait()
for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
together.wait()
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_threads_share_few_arenas():
    counts = {}
    for how in ("limited", "as it is"):
        command = [sys.executable, "-c", PROGRAM, how]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        counts[how] = ran.stderr.count("Arena ")
    assert counts["limited"] <= 2 < counts["as it is"]
