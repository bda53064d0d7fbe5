"""Compilation of CUDA source on the device by NVRTC, NVIDIA's compiler as a library."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# By CUDA's major release, newest first; 11's is named after the update that froze its interface.
_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2")
_WHEEL_FOLDERS = ("nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib")  # of nvidia-cuda-nvrtc, -cu12
_TOOLKIT = "/usr/local/cuda"
# No contraction, as on the host; there is no host whose functions would be left out.
_OPTIONS = ("--std=c++17", "--fmad=false", "--device-as-default-execution-space")
_SUCCESS = 0


def compiled(source: str, headers: Mapping[str, str], compute_capability: str) -> bytes:
    """Return kernels that a GPU of this compute capability can load.

    Args:
        source: The file to compile.
        headers: What it includes, by the names it includes them by.
        compute_capability: Of the GPU, such as "8.7".

    Raises:
        BackendError: NVRTC is not installed, it is too old for the GPU, or it refuses the source.
    """
    library = _library()
    own = int(compute_capability.replace(".", ""))
    known = _architectures(library)
    older = [architecture for architecture in known if architecture < own]
    if own in known:
        return _compile(library, source, headers, f"sm_{own}", "CUBIN")
    if older:
        return _compile(library, source, headers, f"compute_{max(older)}", "PTX")
    raise BackendError(
        f"NVRTC compiles for compute capability {min(known) / 10} and later, "
        f"this GPU has {compute_capability}"
    )


def require_nvrtc() -> None:
    """Check that NVRTC can be loaded.

    Raises:
        BackendError: It is not installed, or older than CUDA 11.2.
    """
    _library()


def _compile(
    library: ctypes.CDLL, source: str, headers: Mapping[str, str], target: str, result: str
) -> bytes:
    texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
    names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
    options = [option.encode() for option in (*_OPTIONS, f"--gpu-architecture={target}")]
    program = ctypes.c_void_p()
    code = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"kernels.cu", len(headers), texts, names
    )
    if code != _SUCCESS:
        raise BackendError(f"NVRTC gave {code} for the kernels' source")
    try:
        array = (ctypes.c_char_p * len(options))(*options)
        if library.nvrtcCompileProgram(program, len(options), array) != _SUCCESS:
            log = _text(library, program, "ProgramLog").decode("utf-8", "replace")
            raise BackendError(f"NVRTC cannot compile the kernels: {_first_line(log)}")
        return _text(library, program, result)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    code = getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    if code == _SUCCESS:
        text = ctypes.create_string_buffer(size.value)
        code = getattr(library, f"nvrtcGet{what}")(program, text)
        if code == _SUCCESS:
            return text.raw
    raise BackendError(f"NVRTC gave {code} where asked for its {what}")


def _first_line(log: str) -> str:
    lines = [line.strip("\0 ") for line in log.splitlines()]
    return next((line for line in lines if "error" in line), "it does not say why")


def _architectures(library: ctypes.CDLL) -> list[int]:
    count = ctypes.c_int()
    if library.nvrtcGetNumSupportedArchs(ctypes.byref(count)) != _SUCCESS or count.value < 1:
        raise BackendError("NVRTC names no architectures it compiles for")
    known = (ctypes.c_int * count.value)()
    if library.nvrtcGetSupportedArchs(known) != _SUCCESS:
        raise BackendError("NVRTC names no architectures it compiles for")
    return list(known)


def _library() -> ctypes.CDLL:
    """Load NVRTC.

    Raises:
        BackendError: It is not installed, or older than CUDA 11.2.
    """
    for folder, name in _candidates():
        try:
            # It opens its built-in functions by a bare name, which finds what is loaded already.
            if folder is not None:
                for builtins in folder.glob("libnvrtc-builtins.so.*"):
                    ctypes.CDLL(str(builtins))
            library = ctypes.CDLL(name if folder is None else str(folder / name))
        except OSError:
            continue
        if hasattr(library, "nvrtcGetSupportedArchs") and hasattr(library, "nvrtcGetCUBIN"):
            return library
    raise BackendError("NVRTC is not installed (package nvidia-cuda-nvrtc, or the CUDA toolkit)")


def _candidates() -> Iterator[tuple[Path | None, str]]:
    """Yield folder and name of what may be NVRTC; without a folder the loader looks for it."""
    yield from ((None, name) for name in _NAMES)
    folders = [Path(entry) / folder for entry in sys.path for folder in _WHEEL_FOLDERS]
    toolkits = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), _TOOLKIT)
    folders += [Path(toolkit) / "lib64" for toolkit in toolkits if toolkit]
    for folder in folders:
        for name in _NAMES:
            if (folder / name).is_file():
                yield folder, name
