"""Kernels of preprocessing on the quick CUDA driver, played by the host's own pass.

Arguments are not packed but numbered, so that what a lane asks of a kernel is played as it was
asked: the frame is read where it lies in the fake device's memory, and nothing around it.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasdk.backends.tensorrt import device_preprocessing, row_kernels
from fasdk.preprocess.native import native_module

from support.fake_gpu import FakeGpu

GARBAGE = 0xA5


class PlayedKernels:
    """The kernels of one fake GPU.

    Attributes:
        played: Names of the kernels that ran, in order.
    """

    def __init__(self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        self.played: list[str] = []
        self._gpu = gpu
        self._asked: dict[bytes, dict[str, Any]] = {}
        packed = SimpleNamespace(
            RowPacker=lambda **spec: SimpleNamespace(
                image=lambda **given: self._number(spec=spec, dtype=np.uint8, **given),
                depth=lambda **given: self._number(spec=spec, dtype=np.uint16, **given),
            ),
            constant_row=self._number,
            present_row=self._number,
        )
        row_kernels._packer.cache_clear()
        monkeypatch.setattr(row_kernels, "native_module", lambda: packed)
        monkeypatch.setattr(device_preprocessing, "kernel_image", lambda *_: b"played")
        for name, play in {
            "fasdk_image_row": self._frame,
            "fasdk_depth_row": self._frame,
            "fasdk_constant_row": self._constant,
            "fasdk_present_row": self._present,
        }.items():
            gpu.kernels[name] = lambda arguments, name=name, play=play: self._play(
                name, play, arguments
            )

    def _number(self, **given: Any) -> bytes:
        number = len(self._asked).to_bytes(8, "little")
        self._asked[number] = given
        return number

    def _play(self, name: str, play: Any, arguments: bytes) -> None:
        self.played.append(name)
        play(**self._asked[arguments])

    def _memory(self, address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return memory that lies in one allocation of the device."""
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        held = (buffer.array for buffer in self._gpu.held.values())
        assert any(
            a.ctypes.data <= address and address + size_bytes <= a.ctypes.data + a.nbytes
            for a in held
        ), "an access outside of the device's memory"
        raw = (ctypes.c_ubyte * size_bytes).from_address(address)
        return np.frombuffer(raw, dtype).reshape(shape)

    def _frame(
        self,
        *,
        spec: dict[str, Any],
        dtype: Any,
        frame: int,
        shape: tuple[int, int, int],
        strides: tuple[int, int, int],
        out: int,
        out_size: tuple[int, int],
        levels: int | None = None,
        region: tuple[int, ...] | None = None,
        to_frame: tuple[float, ...] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        height, width, channels = shape
        assert strides == (width * channels, channels, 1)
        part = self._memory(frame, shape if channels > 1 else shape[:2], dtype)
        native: Any = native_module()
        tensor = np.empty((3, *out_size), np.float32)
        table = () if levels is None else (self._memory(levels, (65536,), np.uint8),)
        kind = "image" if levels is None else "depth"
        if to_frame is not None:
            assert window is not None
            left, top, frame_width, frame_height = window
            whole = np.full((frame_height, frame_width, *part.shape[2:]), GARBAGE, dtype)
            whole[top : top + height, left : left + width] = part
            getattr(native.Pass(**spec), f"aligned_{kind}")(whole, to_frame, *table, tensor)
        else:
            getattr(native.Pass(**spec), kind)(part, region, *table, tensor)
        self._memory(out, tensor.shape, np.float32)[...] = tensor

    def _constant(self, *, out: int, count: int, value: float) -> None:
        self._memory(out, (count,), np.float32).fill(value)

    def _present(self, *, out: int, count: int, present: int) -> None:
        row = self._memory(out, (count,), np.float32)
        row[:] = [present >> column & 1 for column in range(count)]
