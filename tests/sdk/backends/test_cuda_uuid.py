"""UUID of a GPU: the driver's bytes, and drivers that give none."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from fasdk.backends.cuda_uuid import gpu_uuid

UUID = bytes(range(1, 17))


class FakeLibrary:
    """The driver's library with the functions it is given."""

    def __init__(self, **functions: Callable[..., int]) -> None:
        for name, function in functions.items():
            setattr(self, name, function)


def answer(content: bytes, result: int = 0) -> Callable[..., int]:
    def function(pointer: Any, ordinal: int) -> int:
        assert ordinal == 3
        ctypes.memmove(pointer, content, len(content))
        return result

    return function


@pytest.mark.parametrize(
    ("functions", "uuid"),
    [
        ({"cuDeviceGetUuid_v2": answer(UUID)}, UUID.hex()),
        ({"cuDeviceGetUuid": answer(UUID)}, UUID.hex()),
        ({"cuDeviceGetUuid_v2": answer(UUID, 801), "cuDeviceGetUuid": answer(UUID)}, UUID.hex()),
        ({"cuDeviceGetUuid_v2": answer(bytes(16))}, ""),
        ({"cuDeviceGetUuid_v2": answer(UUID, 101)}, ""),
        ({}, ""),
    ],
)
def test_the_uuid_is_the_drivers(
    monkeypatch: pytest.MonkeyPatch, functions: dict[str, Callable[..., int]], uuid: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeLibrary(**functions))
    assert gpu_uuid(3) == uuid


def test_a_machine_without_a_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert gpu_uuid(0) == ""
