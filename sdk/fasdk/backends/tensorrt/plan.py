"""Plan builder, for the workstation (TensorRT-RTX) and for the device (TensorRT).

Precision lives in the graph. The network is strongly typed and no precision flag is ever set, so
one code path serves TensorRT's oldest supported release, where those flags still exist, and its
newest, where they are gone.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from fasdk.backends.plan_options import PlanOptions
from fasdk.backends.specs import spec_of
from fasdk.backends.tensorrt.module import (
    NativeLog,
    load_module,
    one_line,
    open_log,
    released_on_error,
    without_driver_noise,
)
from fasdk.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from fasdk.backends.engine import Backend
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.module import RtxTensorRt, TensorRt
    from fasdk.progress import Progress

_DEFAULTS = PlanOptions()
_SHORT_OF_MEMORY = re.compile(r"out of ?memory|workspace", re.IGNORECASE)


@dataclass(frozen=True)
class BuiltPlan:
    """A plan, and what it can be used for.

    Attributes:
        data: The serialized plan: executable code.
        backend: TensorRT variant that built it.
        version: Version of the library that built it; no other may load it.
        compute_capabilities: GPU generations it holds code for; empty means this machine's GPU.
        max_batch: Largest batch of its optimization profile.
        seconds: Time of the build, in seconds.
        options: How it was built.
        timing: Times of kernels, as TensorRT serializes them, which a later build may start from;
            b"" where none were asked for.
    """

    data: bytes = field(repr=False)
    backend: Backend
    version: str
    compute_capabilities: tuple[str, ...]
    max_batch: int
    seconds: float
    options: PlanOptions = _DEFAULTS
    timing: bytes = field(default=b"", repr=False)


def build_plan(
    graph: bytes | memoryview,
    backend: Backend,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    max_batch: int,
    compute_capabilities: Sequence[str] = (),
    progress: Progress | None = None,
    options: PlanOptions = _DEFAULTS,
    timing: bytes | None = None,
) -> BuiltPlan:
    """Compile a typed ONNX graph.

    One optimization profile: batch 1 to `max_batch`, tuned for 1, because a door waits for a single
    capture and a full batch is the exception.

    Args:
        graph: The ONNX file's bytes, already verified.
        backend: TENSORRT or TENSORRT_RTX.
        shapes: (C, H, W), or (values,), by input name; the graph must have exactly these, float32.
        max_batch: Largest batch of the optimization profile.
        compute_capabilities: GPU generations such as "8.6". At least one for TensorRT-RTX, which
            puts all of them in one plan; none for TensorRT, which builds for this machine's GPU.
        progress: Receives each phase of the build.
        options: Memory and effort of the build and of the plan.
        timing: Times of kernels of an earlier build, b"" to begin with none; None neither takes nor
            returns any.

    Raises:
        BackendError: The backend is not installed.
        PlanError: The graph, the targets or the profile do not fit, or the compiler failed.
        KeyboardInterrupt: The user cancelled; the compiler stopped at its next step.
    """
    trt = load_module(backend)
    version = str(trt.__version__)
    targets = tuple(dict.fromkeys(compute_capabilities))
    start = time.perf_counter()
    with released_on_error():
        data, times = _compile(
            trt, graph, backend, shapes, max_batch, targets, progress, options, timing
        )
    seconds = time.perf_counter() - start
    return BuiltPlan(data, backend, version, targets, max_batch, seconds, options, times)


def _compile(
    trt: TensorRt,
    graph: bytes | memoryview,
    backend: Backend,
    shapes: Mapping[str, tuple[int, ...]],
    max_batch: int,
    targets: tuple[str, ...],
    progress: Progress | None,
    options: PlanOptions,
    timing: bytes | None,
) -> tuple[bytes, bytes]:
    name = f"{backend.value} {trt.__version__}"
    log = open_log(trt, needs_driver=not spec_of(backend).cross_builds)
    builder = _make_builder(trt, log, name)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    # The parser must live as long as the network, which borrows the graph's weights from it.
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(graph):
        raise PlanError(f"{name} refuses the graph: {_parser_errors(parser) or log.summary()}")
    _check_inputs(trt, network, shapes, name)

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.builder_optimization_level = options.optimization_level
    config.max_aux_streams = options.aux_streams
    if timing is not None:
        _use_timing(config, timing, log, name)
    # So that a plan can tell what its layers are; it holds the same kernels.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if spec_of(backend).cross_builds:
        _set_targets(cast("RtxTensorRt", trt), cast("api.RtxIBuilderConfig", config), targets)
    elif targets:
        raise PlanError(
            f"{name} builds for this machine's GPU only, not for compute capability "
            f"{', '.join(targets)}: leave the compute capabilities out"
        )
    _add_profile(builder, config, shapes, max_batch, name)
    with _build_monitor(trt, progress) as monitor:
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.summary()
        fix = ""
        if max_batch > 1 and _SHORT_OF_MEMORY.search(reason):
            fix = f": lower --max-batch from {max_batch}, or raise the workspace"
        raise PlanError(f"{name} cannot build a plan: {reason}{fix}")
    return bytes(plan), _timing_of(config) if timing is not None else b""


def _use_timing(config: api.IBuilderConfig, timing: bytes, log: NativeLog, name: str) -> None:
    """Let a build start from the times of an earlier one, where TensorRT takes them."""
    cache = config.create_timing_cache(timing)
    if cache is not None and config.set_timing_cache(cache, False):
        return
    logging.getLogger("fasdk.tensorrt").warning(
        "%s does not take the timing cache kept here, which is dropped: %s", name, log.summary()
    )
    empty = config.create_timing_cache(b"")
    if empty is not None:
        config.set_timing_cache(empty, False)


def _timing_of(config: api.IBuilderConfig) -> bytes:
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())


def _make_builder(trt: TensorRt, log: NativeLog, name: str) -> api.Builder:
    try:
        builder = trt.Builder(log.logger)
    except (TypeError, RuntimeError) as error:
        # What the bindings make of a factory that returned nothing, as without a usable GPU.
        raise PlanError(f"{name} cannot make a builder: {log.summary()} ({error})") from error
    if builder is None:
        raise PlanError(f"{name} cannot make a builder: {log.summary()}")
    return builder


def _parser_errors(parser: api.OnnxParser) -> str:
    found = []
    for index in range(int(parser.num_errors)):
        error = parser.get_error(index)
        node, reason = int(error.node()), one_line(without_driver_noise(str(error.desc())))
        found.append(reason if node < 0 else f"node {node} ({error.node_operator()}): {reason}")
    return "; ".join(found)


def _check_inputs(
    trt: TensorRt,
    network: api.INetworkDefinition,
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
) -> None:
    found: dict[str, str] = {}
    for index in range(int(network.num_inputs)):
        tensor = network.get_input(index)
        dtype = "float32" if tensor.dtype == trt.DataType.FLOAT else str(tensor.dtype)
        found[str(tensor.name)] = f"{dtype} {[int(size) for size in tensor.shape]}"
    expected = {key: f"float32 {[-1, *shape]}" for key, shape in shapes.items()}
    if found != expected:
        raise PlanError(
            f"{name}: the graph's inputs are {_listed(found)}, the manifest asks for "
            f"{_listed(expected)} with -1 a symbolic batch: export the graph again"
        )


def _listed(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {tensors[key]}" for key in sorted(tensors)) or "none"


def known_compute_capabilities(trt: RtxTensorRt) -> dict[str, object]:
    """Return TensorRT-RTX's value of every compute capability it builds for, by "8.6" and such."""
    members = trt.ComputeCapability.__members__
    return {_dotted(name): value for name, value in members.items() if name.startswith("SM")}


def _set_targets(trt: RtxTensorRt, config: api.RtxIBuilderConfig, targets: tuple[str, ...]) -> None:
    known = known_compute_capabilities(trt)
    unknown = [target for target in targets if target not in known]
    if unknown or not targets:
        found = f"compute capability {', '.join(unknown)}" if unknown else "no compute capability"
        raise PlanError(
            f"{found} for tensorrt-rtx {trt.__version__}: give some of {', '.join(known)}"
        )
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if not config.set_compute_capability(known[target], index):
            raise PlanError(f"tensorrt-rtx {trt.__version__} refuses compute capability {target}")


def _dotted(name: str) -> str:
    """Turn SM86 into 8.6 and SM120 into 12.0."""
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}"


def _add_profile(
    builder: api.Builder,
    config: api.IBuilderConfig,
    shapes: Mapping[str, tuple[int, ...]],
    max_batch: int,
    name: str,
) -> None:
    if max_batch < 1:
        raise PlanError(f"largest batch {max_batch} for {name}: it must be at least 1")
    profile = builder.create_optimization_profile()
    for tensor, shape in shapes.items():
        one, most = (1, *shape), (max_batch, *shape)
        profile.set_shape(tensor, one, one, most)
    if config.add_optimization_profile(profile) < 0:
        raise PlanError(f"{name} refuses batch 1 to {max_batch} for {', '.join(sorted(shapes))}")


@contextmanager
def _build_monitor(trt: TensorRt, progress: Progress | None) -> Iterator[api.IProgressMonitor]:
    """Yield a monitor that forwards progress and stops the build on Ctrl-C.

    No exception may cross the compiler's frames, so SIGINT and a listener's own failure are kept
    and raised when the block ends.
    """
    stopped: list[BaseException] = []
    steps_of: dict[str, int] = {}

    def report(phase: str, step: int) -> None:
        if progress is None or stopped:
            return
        try:
            progress.update(phase, step, steps_of.get(phase, 0))
        except Exception as error:  # noqa: BLE001 - kept, and raised when the build has stopped
            stopped.append(error)

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined,misc]
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            steps_of[phase_name] = num_steps
            report(phase_name, 0)

        def phase_finish(self, phase_name: str) -> None:
            report(phase_name, steps_of.get(phase_name, 0))

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phase_name, step + 1)
            return not stopped

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        stopped.append(KeyboardInterrupt())

    # Python lets only the main thread handle signals; elsewhere Ctrl-C is not ours to see.
    handles_signals = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupt) if handles_signals else None
    try:
        yield Monitor()
    finally:
        if handles_signals:
            signal.signal(signal.SIGINT, before)
        if stopped:
            raise stopped[0]
