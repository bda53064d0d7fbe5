"""Machines with planted problems, and what the doctor must say of each.

    python -m support.doctor_plants

prints one JSON line: how many problems were planted and found, the checks that failed on a sound
machine, and the seconds of a run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from fasdk.bundle.signing import generate_key
from fasdk.bundle.trust_store import add_key, revoke_key
from fasdk.capture import Modality
from fasdk.home import HOME_VARIABLE
from fasdk_tools.doctor import account, bundle, cameras, gpu, machine
from fasdk_tools.doctor.child import Answer, ask
from fasdk_tools.doctor.findings import Finding, Level
from fasdk_tools.doctor.place import Place, Request
from fasdk_tools.doctor.run import diagnose

from support import machine_trees, tiny_bundle
from support.base_install import OURS, link_packages

RUN_SECONDS = 120
NATIVE = f"_native{EXTENSION_SUFFIXES[0]}"
ORIN_NANO_MODES = """\
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=7W >
< PM_CONFIG DEFAULT=0 >
"""


@dataclass(frozen=True)
class Plant:
    """One problem, and the line that must name it.

    Attributes:
        name: What is wrong.
        check: Name of the line.
        found: Pattern of what it says.
        fix: Pattern of its fix.
        level: How grave it is.
    """

    name: str
    check: str
    found: str
    fix: str
    level: Level = Level.FAIL

    def is_named(self, findings: list[Finding]) -> bool:
        """Return whether one of the lines names the problem, as gravely as it is, with its fix."""
        return any(
            each.check == self.check
            and each.level is self.level
            and re.search(self.found, each.found) is not None
            and re.search(self.fix, each.fix) is not None
            for each in findings
        )


@dataclass(frozen=True)
class Scenario:
    """A machine with some problems.

    Attributes:
        name: Name of the machine.
        look: Function that makes it in a folder and returns what the doctor says of it.
        plants: Its problems.
    """

    name: str
    look: Callable[[Path], list[Finding]]
    plants: tuple[Plant, ...]


# --- machines with other packages: the command line in an interpreter that has those alone ---


def in_site(
    site: Path, *words: object, ours: tuple[Path, ...] = OURS
) -> tuple[int, dict[str, Any]]:
    """Run the doctor in an interpreter with fasdk and the packages of a folder alone."""
    ran = subprocess.run(
        [sys.executable, "-S", "-m", "fasdk_tools.cli", "doctor", *map(str, words), "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*ours, site)))},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, document


def findings_of(document: Mapping[str, Any]) -> list[Finding]:
    return [Finding.of(each) for each in document["checks"]]


def write_distribution(site: Path, name: str, version: str) -> None:
    """Write the metadata of a package that is installed."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def write_module(site: Path, name: str, text: str) -> None:
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(text)


def described_fasdk(site: Path, *lines: str) -> None:
    """Write metadata of fasdk with these requirements, as an install leaves it."""
    folder = site / "fasdk-0.1.0.dist-info"
    folder.mkdir()
    required = "".join(f"Requires-Dist: {line}\n" for line in lines)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: fasdk\nVersion: 0.1.0\nRequires-Python: >=3.10\n{required}"
    )


REQUIRED = (
    *("cryptography>=42", "numpy<3,>=1.24", "pydantic<3,>=2.6", "typing-extensions>=4.1"),
    *('typer>=0.12; extra == "cli"', 'opencv-python<6,>=4.8; extra == "opencv"'),
    'onnxruntime>=1.18; extra == "cpu"',
)


def without_numpy(folder: Path) -> list[Finding]:
    """A device without NumPy, whose OpenCV, TensorRT and native module are broken."""
    site = link_packages(folder / "site", "cli")
    for path in site.glob("numpy*"):
        path.unlink()
    described_fasdk(site, *REQUIRED)
    write_module(site, "cv2", "raise ImportError('numpy.core.multiarray failed to import')\n")
    write_module(
        site,
        "tensorrt",
        "raise ImportError('libnvinfer.so.10: cannot open shared object file')\n",
    )
    copy = folder / "copy"
    shutil.copytree(OURS[0] / "fasdk", copy / "fasdk", ignore=shutil.ignore_patterns("*.pyc"))
    (copy / "fasdk" / NATIVE).write_bytes(b"cut short")
    return findings_of(in_site(site, ours=(copy, *OURS[1:]))[1])


def with_mixed_packages(folder: Path) -> list[Finding]:
    """A device with an old pydantic, two OpenCVs, and an ONNX Runtime that crashes."""
    site = link_packages(folder / "site", "cli")
    for path in site.glob("pydantic-*"):
        path.unlink()
    write_distribution(site, "pydantic", "1.10.2")
    described_fasdk(site, *REQUIRED)
    write_module(site, "cv2", "__version__ = '4.10.0'\n")
    write_distribution(site, "opencv-python", "4.10.0.84")
    write_distribution(site, "opencv-python-headless", "4.10.0.84")
    write_module(site, "onnxruntime", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    write_distribution(site, "onnxruntime", "1.20.0")
    return findings_of(in_site(site, tiny_bundle.write(folder / "door.fasb"))[1])


def without_backend(folder: Path) -> list[Finding]:
    """A device whose bundle needs an extra that is not installed, but sound otherwise."""
    site = link_packages(folder / "site", "cli")
    described_fasdk(site, *REQUIRED)
    status, document = in_site(site, tiny_bundle.write(folder / "door.fasb"))
    assert status == 1
    return findings_of(document)


# --- recorded machines: trees of proc, sys and etc, and what child processes would answer there ---


@dataclass
class Answers:
    """Answers of child processes on a recorded machine; what is not listed is asked for here."""

    given: dict[str, dict[str, Any] | Answer] = field(default_factory=dict)

    def __call__(
        self,
        probe: str,
        question: Mapping[str, object],
        limit_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        key = f"import {question['module']}" if probe == "package" else probe
        if key not in self.given:
            return ask(probe, question, limit_s, environment)
        answer = self.given[key]
        return answer if isinstance(answer, Answer) else Answer(answer)


@contextmanager
def installed(*modules: str) -> Iterator[None]:
    """Let these packages count as installed while the block runs."""

    def is_present(module: str) -> bool:
        return module in modules

    with (
        patch.object(gpu, "is_present", is_present),
        patch.object(cameras, "is_present", is_present),
    ):
        yield


def looked(place: Place, *looks: Callable[[Place, Request], Any], **request: Any) -> list[Finding]:
    asked = Request(**request)
    return [finding for look in looks for finding in look(place, asked)]


def old_jetson(folder: Path) -> list[Finding]:
    """A Jetson with JetPack 5 in a low power mode, hot, its clock unset and its disk full."""
    tree = machine_trees.orin_nano(folder)
    tree.write("etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: generic")
    tree.write("etc/nvpmodel.conf", ORIN_NANO_MODES)
    tree.write_power_mode("7W")
    tree.write_zone(0, "cpu-thermal", 97.5, "passive:99 critical:104.5")
    tree.write_cpu_clock(1510, low=729, high=1510, governor="schedutil")
    tree.write("proc/sys/kernel/core_pattern", "core")
    tree.write("sys/class/video4linux/video7/name", "Infrared camera")
    tree.write("dev/video7", "")
    tree.write("sys/bus/usb/devices/2-1/idVendor", "8086")
    tree.write("sys/bus/usb/devices/2-1/product", "Intel(R) RealSense(TM) Depth Camera 435i")
    full = {"free_bytes": 1_000_000, "free_files": 5000, "is_read_only": False}
    place = Place(
        root=folder,
        now_s=lambda: 120.0,
        is_synchronized=lambda: False,
        core_limit=lambda: -1,
        child=Answers(
            {
                "gpu": {"cuda": "11.2", "gpus": ["Orin, compute capability 8.7"], "pycuda": None},
                "import tensorrt": {"version": "8.5.2.2"},
                "space": dict.fromkeys(_paths(), full),
                "kernels": {"error": "preprocess.fatbin was not built with this fasdk"},
            }
        ),
    )
    with installed("tensorrt", "pycuda"), patch.object(cameras.os, "access", lambda *_: False):
        return looked(
            place,
            *(gpu.jetpack_findings, gpu.driver_findings, gpu.tensorrt_findings),
            *(gpu.kernel_findings, machine.condition_findings, machine.clock_findings),
            *(machine.core_dump_findings, account.disk_findings, cameras.device_findings),
        )


def _paths() -> list[str]:
    from fasdk.home import home_path

    return [tempfile.gettempdir(), str(home_path())]


def workstation(folder: Path) -> list[Finding]:
    """A desktop whose driver is older than its CUDA packages, and whose disk does not answer."""
    tree = machine_trees.desktop(folder)
    tree.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64  535.104.05  Sat")
    place = Place(
        root=folder,
        child=Answers(
            {
                "gpu": {"cuda": "12.2", "gpus": ["RTX A2000, 8.6"], "pycuda": "13.0"},
                "import tensorrt": {"version": "10.9.0"},
                "space": Answer(None, "gave no answer within 4 s", hung=True),
                "kernels": {"source": "nvrtc"},
            }
        ),
    )
    with installed("tensorrt"):
        looks = (gpu.driver_findings, gpu.tensorrt_findings, account.disk_findings)
        return looked(place, *looks)


def server_without_gpu(folder: Path) -> list[Finding]:
    """A server with a TensorRT that would be chosen, and no driver; and a driver without a GPU."""
    machine_trees.virtual_machine(folder / "bare")
    place = Place(root=folder / "bare", child=Answers({"import tensorrt": {"version": "10.9.0"}}))
    tree = machine_trees.virtual_machine(folder / "mismatched")
    tree.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64  550.54.14  Thu")
    failing = {"cuda": "12.4", "gpus": [], "error": "CUDA failed: cuInit gave CUDA_ERROR_803"}
    mismatched = Place(root=folder / "mismatched", child=Answers({"gpu": failing}))
    hidden = machine_trees.agx_thor(folder / "hidden")
    hidden.write("usr/lib/python3.12/dist-packages/tensorrt/__init__.py", "")
    with installed("tensorrt"):
        found = looked(place, gpu.tensorrt_findings)
    with installed():
        found += looked(mismatched, gpu.driver_findings)
        found += looked(Place(root=folder / "hidden"), gpu.tensorrt_findings)
    return found


# --- accounts and bundles as they are found on a disk; looked at by the real child process ---


@contextmanager
def own_home(folder: Path) -> Iterator[Path]:
    with patch.dict(os.environ, {HOME_VARIABLE: str(folder)}):
        yield folder


def open_account(folder: Path) -> list[Finding]:
    """An account whose key others read, whose trusted key others write, whose attempts are cut."""
    with own_home(folder / "home") as home:
        tiny_bundle.write(folder / "door.fasb")  # makes the build key
        (key,) = (home / "keys").glob("*.pem")
        key.chmod(0o644)
        public, _ = generate_key(folder / "vendor.pem")
        add_key(public).key.source.chmod(0o666)
        attempts = home / "state" / "attempts"
        attempts.mkdir(parents=True, mode=0o700)
        (attempts / "lobby.attempts").write_bytes(b"cut")
        found = looked(Place(), account.account_findings)
    with own_home(folder / "shared") as home:
        home.mkdir()
        home.chmod(0o777)
        return [*found, *looked(Place(), account.account_findings)]


def bad_bundles(folder: Path) -> list[Finding]:
    """Bundles that are cut, of a stranger, of a revoked key, and whose answers are others."""
    found: list[Finding] = []

    def look(path: Path, *more: Callable[[Place, Request], Any]) -> None:
        found.extend(looked(Place(), bundle.asked_findings, *more, bundle=path))

    with own_home(folder / "home"):
        sound = tiny_bundle.write(folder / "sound.fasb")
        cut = folder / "cut.fasb"
        cut.write_bytes(sound.read_bytes()[:-200])
        look(cut)
        generate_key(folder / "stranger.pem")
        look(tiny_bundle.write(folder / "strange.fasb", folder / "stranger.pem"))
        public, _ = generate_key(folder / "vendor.pem")
        revoked = tiny_bundle.write(folder / "revoked.fasb", folder / "vendor.pem")
        add_key(public)
        revoke_key(str(public))
        look(revoked)
        plans = folder / "drifted.fasb.plans"
        plans.mkdir()
        plans.chmod(0o777)
        look(drifted(folder / "drifted.fasb"))
        readable = folder / "sound.fasb.plans"
        readable.mkdir(mode=0o755)
        (readable / "mac.key").write_bytes(b"0" * 32)
        (readable / "mac.key").chmod(0o644)
        ahead_s = time.time() + 400 * 86_400
        os.utime(sound, (ahead_s, ahead_s))
        look(sound, machine.bundle_clock_findings)
    return found


def drifted(path: Path) -> Path:
    """Write a bundle whose golden captures got other logits than its graph gives."""
    with patch.object(tiny_bundle, "golden", _golden_of_another):
        return tiny_bundle.write(path)


def _golden_of_another(item: Any, described: Any, graph: bytes) -> Any:
    from fasdk.bundle.golden import GoldenCapture

    del described, graph
    return GoldenCapture(item, np.float32([3.0, -3.0]))


def old_revision(folder: Path) -> list[Finding]:
    """A machine that is given an older bundle than the one it took before."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.trust import TrustPolicy

    with own_home(folder / "home"):
        public, _ = generate_key(folder / "vendor.pem")
        add_key(public)
        new = tiny_bundle.write(folder / "new.fasb", folder / "vendor.pem", revision=5)
        trust = TrustPolicy.installed()
        opened = open_bundle(new, trust)
        RevisionState.installed().record(opened, [key.id for key in trust.keys])
        old = tiny_bundle.write(folder / "old.fasb", folder / "vendor.pem", revision=3)
        return looked(Place(), bundle.asked_findings, bundle=old)


def bad_cameras(folder: Path) -> list[Finding]:
    """Cameras that are absent, need another OpenCV, stand still or hang, for a bundle of three."""
    still = folder / "still.avi"
    writer = cv2.VideoWriter(str(still), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for _ in range(12):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    specs = (
        "opencv:/dev/video987",
        "opencv:v4l2src device=/dev/video0 ! appsink",
        f"opencv:{still}",
    )
    given = {"camera": Answer(None, "gave no answer within 12 s", hung=True)}
    with own_home(folder / "home"):
        door = tiny_bundle.write(folder / "door.fasb", required=tuple(Modality))
        found = looked(Place(), bundle.asked_findings, cameras=specs, bundle=door)
    found += looked(Place(child=Answers(given)), bundle.asked_findings, cameras=("realsense",))
    late = {"modalities": {"rgb": [640, 480]}, "frames": 20, "seconds": 1.0, "frozen": []}
    late |= {"is_recording": False, "age_ms": 1300.0, "skew_ms": 0.0}
    place = Place(child=Answers({"camera": late}))
    return found + looked(place, bundle.asked_findings, cameras=("opencv:rtsp://door/1",))


WARN = Level.WARN
SCENARIOS = (
    Scenario(
        "without NumPy",
        without_numpy,
        (
            Plant("package missing", "base packages", "numpy is not installed", r"pip install \."),
            Plant("cv2 for another NumPy", "extra opencv", "multiarray failed", "numpy<2"),
            Plant("TensorRT without library", "TensorRT", r"libnvinfer\.so\.10", "libnvinfer"),
            Plant(
                "native module not importable",
                "native preprocessing",
                "cannot be loaded",
                "build-essential",
                WARN,
            ),
        ),
    ),
    Scenario(
        "mixed packages",
        with_mixed_packages,
        (
            Plant("package too old", "base packages", r"pydantic 1\.10\.2 is not", "pip install"),
            Plant(
                "two OpenCV distributions",
                "cv2",
                "opencv-python and opencv-python-headless",
                "pip uninstall -y",
                WARN,
            ),
            Plant("package that crashes", "extra cpu", "crashed by SIGSEGV", r"\.\[cpu\]"),
            Plant("bundle whose backend crashes", "golden captures", "SIGSEGV", "fasdk verify"),
        ),
    ),
    Scenario(
        "without backend",
        without_backend,
        (
            Plant(
                "bundle needs an extra", "golden captures", r"no backend.*\.\[cpu\]", "--backend"
            ),
            Plant("native module not built", "native preprocessing", "not built", "pip", WARN),
        ),
    ),
    Scenario(
        "old Jetson",
        old_jetson,
        (
            Plant("JetPack too old", "JetPack", r"R35\.4\.1 \(JetPack 5\)", "flash JetPack 6"),
            Plant("driver too old", "CUDA", r"CUDA 11\.2; fasdk needs 11\.4", "JetPack"),
            Plant("TensorRT too old", "TensorRT", r"8\.5\.2\.2; fasdk needs 10\.3", "JetPack"),
            Plant("no kernels for the GPU", "GPU preprocessing", "on the CPU", "nvcc", WARN),
            Plant("low power mode", "power mode", "7W.*usual mode is 15W", "nvpmodel -m", WARN),
            Plant("hot", "heat", r"97\.5 °C", "cool the machine", WARN),
            Plant("clocks not held", "clocks", "schedutil", "jetson_clocks", WARN),
            Plant("clock in 1970", "clock", "1970-01-01", "timedatectl"),
            Plant("core dumps on", "core dumps", "on ", "LimitCORE=0", WARN),
            Plant("disk full", "disk of state", r"\(1 MB\)", "du -xsh"),
            Plant("camera not permitted", "video devices", "/dev/video7", "usermod", WARN),
            Plant("RealSense without package", "RealSense", "435i", r"\.\[realsense\]", WARN),
        ),
    ),
    Scenario(
        "workstation",
        workstation,
        (
            Plant("pycuda newer than driver", "CUDA", r"12\.2.*pycuda.*CUDA 13", "newer driver"),
            Plant("TensorRT without pycuda", "TensorRT", "without pycuda", r"\.\[cuda\]"),
            Plant("disk that hangs", "disk of state", "gave no answer", "df", WARN),
        ),
    ),
    Scenario(
        "server",
        server_without_gpu,
        (
            Plant("TensorRT without driver", "TensorRT", "no NVIDIA driver", "--backend"),
            Plant("driver without GPU", "driver", "CUDA_ERROR_803", "restart the machine"),
            Plant("TensorRT not seen", "TensorRT", "dist-packages", "--system-site-packages"),
        ),
    ),
    Scenario(
        "open account",
        open_account,
        (
            Plant("private key readable", "private keys", "mode 0644", "chmod go-rwx"),
            Plant("trusted key writable", "trusted keys", "mode 0666", "fasdk trust list"),
            Plant("attempts damaged", "attempts", "is damaged", "--release"),
            Plant("account's folder writable", "folder", "mode 0777", "chmod go-w"),
        ),
    ),
    Scenario(
        "bad bundles",
        bad_bundles,
        (
            Plant("bundle truncated", "bundle", r"cut\.fasb", "copy it again"),
            Plant("unknown signer", "signature", "fits none", "fasdk trust add"),
            Plant("revoked signer", "signature", "is revoked", "from its vendor again"),
            Plant("self-test mismatch", "golden captures", "on onnxruntime", "build the bundle"),
            Plant("plan cache writable", "plan cache", "mode 0777", "rm -r"),
            Plant("plan cache's key readable", "plan cache", r"mac\.key.*0644", "rm -r"),
            Plant("clock behind the bundle", "clock and bundle", "400 days before", "timedatectl"),
        ),
    ),
    Scenario(
        "older bundle",
        old_revision,
        (Plant("bundle rolled back", "revision", "revision 3", "fasdk accept"),),
    ),
    Scenario(
        "cameras",
        bad_cameras,
        (
            Plant("camera absent", "camera 1, opencv", "/dev/video987 does not exist", "plug"),
            Plant("cv2 without GStreamer", "camera 2, opencv", "without GStreamer", "gst:PIPELINE"),
            Plant("frames that repeat", "camera 3, opencv", "stands still", "plug it in again"),
            Plant("camera that hangs", "camera 1, realsense", "no answer", "restart the machine"),
            Plant("frames stale", "camera 1, opencv", "1300 ms old", "fewer frames back"),
            Plant("sensor missing", "what the bundle sees", "no camera gives depth", "--camera"),
        ),
    ),
)
PLANTED = sum(len(scenario.plants) for scenario in SCENARIOS)


def measure() -> dict[str, Any]:
    """Return the figures of the claims."""
    missed = []
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            findings = scenario.look(Path(folder))
        missed += [plant.name for plant in scenario.plants if not plant.is_named(findings)]
    with tempfile.TemporaryDirectory() as folder, own_home(Path(folder) / "home"):
        door = tiny_bundle.write(Path(folder) / "door.fasb")
        start_s = time.monotonic()
        sound = diagnose(Request(bundle=door))
        seconds = time.monotonic() - start_s
    return {
        "planted": PLANTED,
        "missed": missed,
        "false_fails": [each.check for each in sound.findings if each.level is Level.FAIL],
        "checks": len(sound.findings),
        "seconds": seconds,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, own_home(Path(place)):
        print(json.dumps(measure()))
