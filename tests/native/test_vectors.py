"""C++ preprocessing against other libraries' outputs, on this CPU and on 64-bit Arm."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.requirements import Requirement

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VECTORS = HERE / "vectors.bin"
ARM_TOOLS = ("aarch64-linux-gnu-g++", "qemu-aarch64")


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, **environment},
    )


def configure(build: Path, *options: object, **environment: str) -> str:
    done = run("cmake", "-S", ROOT, "-B", build, *options, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build_vectors(build: Path, *options: object) -> Path:
    configure(build, "-DFASDK_NATIVE=OFF", "-DFASDK_TESTS=ON", *options)
    done = run("cmake", "--build", build)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "fasdk_vectors"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    Requirement.BUILD_TOOLS.programs("cmake", "c++")
    return build_vectors(tmp_path_factory.mktemp("host"))


def test_every_vector_matches_on_this_machine(program):
    done = run(program, VECTORS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("686 of 686 vectors match")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenCV differs on other machines")
def test_the_committed_vectors_are_what_the_others_answer_today():
    done = run(
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); from support.make_vectors import encode; "
        "sys.stdout.buffer.write(encode().hex().encode())",
        HERE.parent,
    )
    assert done.returncode == 0, done.stderr
    assert bytes.fromhex(done.stdout) == VECTORS.read_bytes()


def test_vector_program_fails_on_one_wrong_level(program, tmp_path):
    first_level = 8 + 4 + 16 * 4
    data = bytearray(VECTORS.read_bytes()[: first_level + 1])  # the first vector alone
    data[8:12] = (1).to_bytes(4, "little")
    (tmp_path / "right.bin").write_bytes(data)
    assert run(program, tmp_path / "right.bin").returncode == 0
    data[first_level] ^= 1
    (tmp_path / "wrong.bin").write_bytes(data)
    done = run(program, tmp_path / "wrong.bin")
    assert done.returncode == 1
    assert "vector 0: 1x1x1 to 1x1 differs" in done.stdout


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"X" + data[1:]]
)
def test_a_damaged_vector_file_is_refused(program, tmp_path, damage):
    (tmp_path / "damaged.bin").write_bytes(damage(VECTORS.read_bytes()))
    assert run(program, tmp_path / "damaged.bin").returncode == 2


def test_without_a_compiler_the_native_module_is_left_out(tmp_path):
    Requirement.BUILD_TOOLS.programs("cmake")
    said = configure(tmp_path / "auto", CXX="/no/such/compiler")
    assert "fasdk._native is left out" in " ".join(said.split())
    asked = run(
        "cmake", "-S", ROOT, "-B", tmp_path / "on", "-DFASDK_NATIVE=ON", CXX="/no/such/compiler"
    )
    assert asked.returncode != 0
    assert "no C++17 compiler found" in asked.stderr


@pytest.mark.slow
def test_no_vector_reads_or_writes_outside_its_buffers(tmp_path):
    Requirement.BUILD_TOOLS.programs("cmake", "c++")
    program = build_vectors(tmp_path, "-DFASDK_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=Debug")
    symbols = program.read_bytes()
    assert b"__asan_init" in symbols
    assert b"__ubsan_handle" in symbols
    done = run(program, VECTORS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_every_vector_matches_on_aarch64(tmp_path):
    Requirement.ARM_TOOLS.programs("cmake", *ARM_TOOLS)
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'aarch64.cmake'}"
    program = build_vectors(tmp_path, toolchain)
    assert machine_of(program) == "AArch64"
    done = run("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", program, VECTORS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("686 of 686 vectors match")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_python_module_compiles_for_aarch64(tmp_path):
    Requirement.ARM_TOOLS.programs("cmake", "aarch64-linux-gnu-g++")
    nanobind = pytest.importorskip("nanobind")
    # This Python's headers serve: both machines are little-endian LP64.
    configure(
        tmp_path,
        f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'aarch64.cmake'}",
        "-DFASDK_NATIVE=ON",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DPython_INCLUDE_DIR={sysconfig.get_path('include')}",
        f"-Dnanobind_DIR={nanobind.cmake_dir()}",
    )
    done = subprocess.run(
        ["cmake", "--build", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (module,) = tmp_path.glob("_native*.so")
    assert machine_of(module) == "AArch64"


def machine_of(binary: Path) -> str:
    header = binary.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    return {0xB7: "AArch64", 0x3E: "x86-64"}[int.from_bytes(header[18:20], "little")]
