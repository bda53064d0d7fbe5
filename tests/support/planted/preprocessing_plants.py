"""Planted bugs of preprocessing on the device; see `support.planted.plants`."""

from __future__ import annotations

from support.planted.plant import Plant

LANE = "fasdk.backends.tensorrt.lane"
CAPTURES = "fasdk.backends.tensorrt.capture_lane"
STAGING = "fasdk.backends.tensorrt.staging"
MEMORY = "fasdk.backends.tensorrt.memory"
ENGINE = "fasdk.backends.tensorrt.execution"
PARTS = "fasdk.preprocess.parts"
KERNELS = "fasdk.backends.device_kernels"

PREPROCESSING_PLANTS = (
    Plant(
        "wait for the copy before staging is filled again",
        LANE,
        "            queue.done.synchronize()\n",
        "",
        "device_rows",
    ),
    Plant(
        "wait for the kernels before mapped memory is read",
        LANE,
        "            queue.done.synchronize()\n",
        "",
        "mapped_rows",
    ),
    Plant(
        "wait before staging is freed",
        LANE,
        "stack.callback(self._queue.stream.synchronize)",
        "pass",
        "close_under_a_kernel",
    ),
    Plant(
        "one call at a time, its kernels included",
        LANE,
        "        with self._turn:\n            if not self._is_open:\n",
        "        if True:\n            if not self._is_open:\n",
        "close_during_kernels",
    ),
    Plant(
        "each capture in the row of its own",
        CAPTURES,
        "row * (port.array.nbytes // self.max_batch)",
        "(row + 1) % self.max_batch * (port.array.nbytes // self.max_batch)",
        "device_rows",
    ),
    Plant(
        "kernels on the lane's stream",
        CAPTURES,
        "                self._kernels.launch(launch, stream)\n",
        '                other = globals().setdefault("S", self._driver.stream())\n'
        "                self._kernels.launch(launch, other)\n",
        "device_rows",
    ),
    Plant(
        "rows before the engine reads them",
        CAPTURES,
        "            self._launch_rows(batch)\n        self._mark(Mark.PREPROCESSED)\n"
        "        super()._start(batch, from_captures=False)\n",
        "            pass\n        self._mark(Mark.PREPROCESSED)\n"
        "        super()._start(batch, from_captures=False)\n"
        "        if from_captures:\n            self._launch_rows(batch)\n",
        "device_rows",
    ),
    Plant(
        "keep the table of levels as long as the lane",
        CAPTURES,
        "        self._opened().stream.synchronize()  # nothing is under way once a lane is open\n",
        "        self._opened().stream.synchronize()\n"
        "        for encoding, memory in list(self._levels.items()):\n"
        '            where = type("At", (), {"address": memory.device.address})()\n'
        "            self._levels[encoding] = SharedMemory(memory.host, where, False)\n"
        "            memory.device.free()\n"
        "            self._held.remove(memory.device)\n",
        "device_rows",
    ),
    Plant(
        "the whole of a crop at the frame's border",
        PARTS,
        "x : right + 1]",
        "x : min(right + 1, size[0] - (right >= size[0] > 1))]",
        "device_rows",
    ),
    Plant(
        "every pixel that an aligned face is interpolated from",
        PARTS,
        "    high = _pixel(max(along) + max(start)) + 1\n",
        "    high = _pixel(max(along) + max(start))\n",
        "device_rows",
    ),
    Plant(
        "mark the modalities of each capture",
        CAPTURES,
        "            launches.append(present_row(self._captures.presence, capture.present, out))\n",
        "            if row == 0:\n                launches.append("
        "present_row(self._captures.presence, capture.present, out))\n",
        "device_rows",
    ),
    Plant(
        "fill the row of a missing modality",
        CAPTURES,
        "launches.append(constant_row(spec, out))",
        "pass",
        "device_rows",
    ),
    Plant(
        "a place of its own for each capture in staging",
        CAPTURES,
        "staging.pack(part.pixels, used_bytes)",
        "staging.pack(part.pixels, 0)",
        "device_rows",
    ),
    Plant(
        "copy every capture of a call",
        CAPTURES,
        "self._rows[batch - 1].used_bytes",
        "self._rows[0].used_bytes",
        "device_rows",
    ),
    Plant(
        "copy rows that the host drew",
        CAPTURES,
        "                self._ports[name].upload(self._driver, number, number + 1, stream)\n",
        "                pass\n",
        "composite_rows",
    ),
    Plant(
        "leave the copy of tensors out of the graph",
        CAPTURES,
        "        execution = self._ready(batch)\n        self._poison(batch)\n",
        "        execution = self._ready(batch)\n        self._upload_rows(batch)\n"
        "        self._poison(batch)\n",
        "device_rows",
    ),
    Plant(
        "forget captures after their call",
        CAPTURES,
        "            self._rows.clear()\n\n    def tensors",
        "            pass\n\n    def tensors",
        "put_again",
    ),
    Plant(
        "free staging that was outgrown",
        CAPTURES,
        "                    staging.free()\n",
        "                    pass\n",
        "device_nothing_left",
    ),
    Plant(
        "free the kernels with their engine",
        ENGINE,
        "                preprocessing.kernels.free()\n",
        "                pass\n",
        "device_nothing_left",
    ),
    Plant(
        "keep the kernels under a call that hangs",
        ENGINE,
        "            if preprocessing is None or self._lanes:\n",
        "            if preprocessing is None:\n",
        "kernels_outlive_an_abandoned_lane",
    ),
    Plant(
        "map memory where it is shared",
        MEMORY,
        "        if driver.device.is_integrated:\n",
        "        if driver.device.is_integrated is None:\n",
        "mapped_rows",
    ),
    Plant(
        "samples at whole addresses",
        STAGING,
        "_ALIGNMENT_BYTES = 64",
        "_ALIGNMENT_BYTES = 1",
        "device_rows",
    ),
    Plant(
        "look at the result of a kernel's launch",
        "fasdk.backends.cuda_kernels",
        "    if code != 0:\n"
        '        raise BackendError(f"the kernel {function.name} was not launched',
        "    if code is None:\n"
        '        raise BackendError(f"the kernel {function.name} was not launched',
        "refused_kernel",
    ),
)
