"""Frames of people are read from a core dump of a process that judged them.

Whoever may read the crash folder, or runs as the same account with a debugger, gets what is in
memory. A process with a session leaves no core dump and lets no such debugger attach, unless the
program asked for that.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from support import tiny_bundle

PROGRAM = """
import ctypes, sys
import fasdk
from fasdk.backends.engine import Backend
from fasdk.bundle.trust import TrustPolicy

options = {"allow_core_dumps": True} if sys.argv[2] == "allowed" else {}
session = fasdk.open(sys.argv[1], backend=Backend.ONNXRUNTIME, trust=UNSIGNED, **options)
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
session.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no such flag")
@pytest.mark.parametrize(("asked", "dumpable"), [("", "0"), ("allowed", "1")])
def test_a_process_with_a_session_is_not_dumped_unless_asked(asked, dumpable, tmp_path):
    bundle = tiny_bundle.write(tmp_path / "tiny.fasb")
    code = PROGRAM.replace("UNSIGNED", "TrustPolicy.unsigned()")
    ran = subprocess.run(
        [sys.executable, "-c", code, str(bundle), asked],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [dumpable]
