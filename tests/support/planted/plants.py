"""Planted bugs, each with the safeguard it removes and the scenario that detects it.

A plant is a substitution in the source of one module. Its text must occur there exactly once, so
that a plant whose safeguard was rewritten fails instead of testing nothing.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

from support.planted.plant import Plant
from support.planted.preprocessing_plants import PREPROCESSING_PLANTS

LANE = "fasdk.backends.tensorrt.lane"
CONTEXTS = "fasdk.backends.tensorrt.contexts"
ENGINE = "fasdk.backends.tensorrt.execution"
CUDA = "fasdk.backends.cuda"
GRAPH = "fasdk.backends.cuda_graph"


PLANTS = (
    Plant(
        "wait for the end of a call",
        LANE,
        "            queue.done.synchronize()\n",
        "",
        "answers",
    ),
    Plant(
        "mark the end of a call",
        LANE,
        "            queue.done.record(queue.stream)\n",
        "",
        "answers",
    ),
    Plant(
        "poison outputs on the device",
        LANE,
        "self._driver.fill_with_nan(port.device, batch * prod(shape), stream)",
        "pass",
        "nothing_written",
    ),
    Plant(
        "poison outputs on the host",
        LANE,
        "self._ports[name].array[:batch].fill(np.nan)",
        "pass",
        "nothing_copied",
    ),
    Plant(
        "copy outputs before the next call",
        LANE,
        ".array[:batch].copy()",
        ".array[:batch]",
        "kept_answers",
    ),
    Plant(
        "wait after a failed call",
        LANE,
        "            queue.stream.synchronize()\n            raise",
        "            raise",
        "failed_call",
    ),
    Plant(
        "raise when TensorRT takes no work",
        LANE,
        "        if not execution.enqueue(stream):\n",
        "        if execution.enqueue(stream) is None:\n",
        "refused_execution",
    ),
    Plant(
        "a graph for each batch size",
        LANE,
        "graph = self._graphs.get(batch)",
        "graph = self._graphs[1] if batch in self._graphs else None",
        "answers",
    ),
    Plant(
        "a context for each graph",
        LANE,
        "self._executions[batch] = self._make_execution(trt, engine)",
        "self._executions[batch] = self._executions.get(1) or self._make_execution(trt, engine)",
        "answers",
    ),
    Plant(
        "set a batch's shapes again after another's",
        CONTEXTS,
        "        if self.batch != batch:\n",
        "        if self.batch is None:\n",
        "plain_answers",
    ),
    Plant(
        "execute once before a capture",
        LANE,
        "            self._execute(batch)\n            refusal",
        "            refusal",
        "recorded",
    ),
    Plant(
        "see a lost device behind a refused capture",
        LANE,
        "            stream.synchronize()\n            return str(error)",
        "            return str(error)",
        "lost_while_recording",
    ),
    Plant(
        "scratch memory of a lane's own",
        LANE,
        "            scratch = self._driver.device_buffer(scratch_bytes)\n"
        "            self._held.append(scratch)\n",
        "            shared = globals()\n"
        '            scratch = shared.get("S") or self._driver.device_buffer(scratch_bytes)\n'
        '            shared["S"] = scratch\n',
        "lanes",
    ),
    Plant(
        "one call at a time on a lane",
        LANE,
        "        with self._turn:\n            if not self._is_open:\n",
        "        if True:\n            if not self._is_open:\n",
        "close_during_a_call",
    ),
    Plant(
        "give a hanging call up in the end",
        "fasdk.backends.tensorrt.close_timeout",
        "lock.acquire(timeout=max(0.0, self._end - time.monotonic()))",
        "lock.acquire()",
        "close_on_a_hanging_device",
    ),
    Plant(
        "one capture at a time",
        GRAPH,
        "    with _ONE_AT_A_TIME:\n",
        "    if True:\n",
        "two_captures",
    ),
    Plant(
        "wait before memory is freed",
        LANE,
        "stack.callback(self._queue.stream.synchronize)",
        "pass",
        "close_after_a_fault",
    ),
    Plant(
        "free a lane's graphs",
        LANE,
        "stack.callback(self._graphs.popitem()[1].free)",
        "self._graphs.popitem()",
        "nothing_left",
    ),
    Plant(
        "make the context current for a call",
        LANE,
        "            with self._driver.current():\n                self._execute(batch, ",
        "            if True:\n                self._execute(batch, ",
        "answers",
    ),
    Plant(
        "fill and run in one turn",
        ENGINE,
        "        with self._turn:\n            batch = self._batch_of(inputs)",
        "        if True:\n            batch = self._batch_of(inputs)",
        "shared_run",
    ),
    Plant(
        "open no lane while closing",
        ENGINE,
        "        with self._state:\n            engine = self._engine\n",
        "        if True:\n            engine = self._engine\n",
        "close_while_opening",
    ),
    Plant(
        "close lanes with their engine",
        ENGINE,
        "            lane.close(timeout)\n",
        "            pass\n",
        "nothing_left",
    ),
    Plant(
        "give the context back after a call",
        CUDA,
        "                self._native.Context.pop()",
        "                pass",
        "answers",
    ),
    Plant(
        "the primary context",
        CUDA,
        ".retain_primary_context()",
        ".make_context()",
        "primary_context",
    ),
    Plant(
        "streams of their own",
        CUDA,
        "self._native.Stream(_NON_BLOCKING)",
        "self._native.Stream()",
        "legacy_stream",
    ),
    Plant(
        "copy in on the lane's stream",
        CUDA,
        "memcpy_htod_async(address, source, _native_stream(stream))",
        "memcpy_htod_async(address, source)",
        "plain_answers",
    ),
    Plant(
        "poison on the lane's stream",
        CUDA,
        "memset_d32_async(target.address, _NAN_BITS, values, _native_stream(stream))",
        "memset_d32_async(target.address, _NAN_BITS, values)",
        "plain_answers",
    ),
    Plant(
        "copy out on the lane's stream",
        CUDA,
        "memcpy_dtoh_async(target, source.address, _native_stream(stream))",
        "memcpy_dtoh_async(target, source.address)",
        "plain_answers",
    ),
    Plant(
        "keep pycuda's objects until they are freed",
        CUDA,
        "        _KEPT[id(native)] = native\n",
        "        _KEPT[id(native)] = None\n",
        "lost_device",
    ),
    Plant(
        "keep memory that is still looked at",
        CUDA,
        "class _HostBuffer(_Native):\n",
        "class _HostBuffer(_Native):\n"
        "    def free(self):\n"
        "        self.native.base.free()\n"
        "        super().free()\n",
        "view_after_close",
    ),
    Plant(
        "end a capture that failed",
        GRAPH,
        '        if _result("cuStreamEndCapture", stream.handle, ctypes.byref(graph)) == 0:\n'
        '            _result("cuGraphDestroy", graph)\n',
        "",
        "refused_capture",
    ),
    Plant(
        "look at the result of a launch",
        GRAPH,
        '_call("cuGraphLaunch"',
        '_result("cuGraphLaunch"',
        "refused_launch",
    ),
    Plant(
        "capture this thread's calls alone",
        GRAPH,
        "_THREAD_LOCAL = 1",
        "_THREAD_LOCAL = 0",
        "allocate_while_capturing",
    ),
    Plant(
        "collect no garbage while capturing",
        GRAPH,
        "        gc.disable()\n",
        "",
        "garbage_while_capturing",
    ),
    Plant(
        "free a graph's template",
        GRAPH,
        '    finally:\n        _call("cuGraphDestroy", graph)\n',
        "    finally:\n        pass\n",
        "nothing_left",
    ),
    *PREPROCESSING_PLANTS,
)


def plant(bug: Plant) -> None:
    """Make the next import of the bug's module give the module with the bug in it."""
    if bug.module in sys.modules:
        raise RuntimeError(f"{bug.module} is imported already")
    origin = find_spec(bug.module)
    if origin is None or origin.origin is None:
        raise ValueError(f"no module {bug.module}")
    sys.meta_path.insert(0, _Finder(bug, origin.origin))


class _Loader(SourceFileLoader):
    def __init__(self, bug: Plant, path: str) -> None:
        super().__init__(bug.module, path)
        self._bug = bug

    def get_code(self, _name: str) -> CodeType:
        source = self._bug.apply(Path(self.path).read_text(encoding="utf-8"))
        return compile(source, self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, bug: Plant, path: str) -> None:
        self._bug, self._path = bug, path

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._bug.module:
            return None
        return spec_from_file_location(fullname, self._path, loader=_Loader(self._bug, self._path))
