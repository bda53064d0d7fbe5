"""Optional packages, and the extra of this distribution that brings each."""

from __future__ import annotations

from importlib import import_module

from fasdk.errors import PackageError

# Extra of pyproject.toml by the name a package is imported by.
EXTRAS = {
    "aiohttp": "serve",
    "cv2": "opencv",
    "h5py": "hdf5",
    "jinja2": "report",
    "onnx": "build",
    "onnxruntime": "cpu",
    "onnxscript": "build",
    "openvino": "openvino",
    "packaging": "cli",
    "perfetto": "build",
    "pkcs11": "pkcs11",
    "polygraphy": "build",
    "pycuda": "cuda",
    "pyrealsense2": "realsense",
    "rich": "cli",
    "safetensors": "build",
    "tensorrt_rtx": "rtx",
    "torch": "build",
    "typer": "cli",
}


def how_to_install(extra: str) -> str:
    """Return how to install an extra, for messages: no registry has this distribution.

    Args:
        extra: Name of an optional dependency group of pyproject.toml, such as "cuda".
    """
    return f"`pip install '.[{extra}]'` in a checkout of fasdk"


def require_package(name: str, user: str) -> None:
    """Check that an optional package can be imported.

    Args:
        name: Name it is imported by, a key of `EXTRAS`.
        user: What needs it, which begins the error's sentence, such as "a PNG file".

    Raises:
        PackageError: It is not installed, or cannot be imported.
    """
    try:
        import_module(name)
    except (ImportError, OSError) as error:
        raise _missing(name, user, error) from error


def missing_package(error: ImportError, user: str) -> PackageError | None:
    """Return the error that names the extra of an optional package, or None for any other import.

    Args:
        error: Error of an import that failed.
        user: What needs the package; see `require_package`.
    """
    name = (error.name or "").partition(".")[0]
    return _missing(name, user, error) if name in EXTRAS else None


def _missing(name: str, user: str, error: ImportError | OSError) -> PackageError:
    is_absent = isinstance(error, ModuleNotFoundError) and error.name == name
    found = "is not installed" if is_absent else f"cannot be imported ({error})"
    return PackageError(f"{user} needs {name}, which {found}: {how_to_install(EXTRAS[name])}")
