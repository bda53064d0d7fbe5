"""CUDA graphs by ctypes: checked results, and a stream usable after a failed capture."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fasdk.backends import cuda_graph, cuda_library
from fasdk.errors import BackendError

STREAM, GRAPH, EXECUTABLE = 77, 88, 99
LAUNCH_FAILED = 719


@dataclass
class Stream:
    handle: int = STREAM

    def synchronize(self) -> None: ...


@dataclass
class Library:
    """The calls made, with their plain arguments, and what each is to return."""

    results: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            result = self.results.get(name, 0)
            if name == "cuGetErrorName":
                if arguments[0] == LAUNCH_FAILED:
                    arguments[1]._obj.value = b"CUDA_ERROR_LAUNCH_FAILED"
                    return 0
                return 1
            plain = [a.value if isinstance(a, ctypes.c_void_p) else a for a in arguments]
            self.calls.append((name, *(a for a in plain if isinstance(a, int))))
            if result == 0 and name == "cuStreamEndCapture":
                arguments[1]._obj.value = GRAPH
            if result == 0 and name == "cuGraphInstantiateWithFlags":
                arguments[0]._obj.value = EXECUTABLE
            return result

        return call


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(cuda_library, "_driver", lambda: made)
    return made


def test_work_is_recorded_between_begin_and_end_and_launched_whole(library: Library) -> None:
    graph = cuda_graph.capture(Stream(), lambda: library.calls.append(("work",)))
    assert library.calls == [
        ("cuStreamBeginCapture_v2", STREAM, 1),  # 1: other threads' calls are no part of it
        ("work",),
        ("cuStreamEndCapture", STREAM),
        ("cuGraphInstantiateWithFlags", GRAPH, 0),
        ("cuGraphDestroy", GRAPH),
    ]
    library.calls.clear()
    graph.launch(Stream(78))
    graph.free()
    graph.free()
    assert library.calls == [("cuGraphLaunch", EXECUTABLE, 78), ("cuGraphExecDestroy", EXECUTABLE)]
    with pytest.raises(BackendError, match="was released"):
        graph.launch(Stream())


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_refused_call_is_named_with_its_reason(library: Library, call: str) -> None:
    library.results[call] = LAUNCH_FAILED
    with pytest.raises(BackendError, match=f"{call} gave CUDA_ERROR_LAUNCH_FAILED"):
        cuda_graph.capture(Stream(), lambda: None)
    destroyed = ("cuGraphDestroy", GRAPH) in library.calls
    assert destroyed is (call == "cuGraphInstantiateWithFlags")


def test_a_result_the_driver_has_no_name_for_is_told_as_a_number(library: Library) -> None:
    graph = cuda_graph.capture(Stream(), lambda: None)
    library.results["cuGraphLaunch"] = 12345
    with pytest.raises(BackendError, match="cuGraphLaunch gave CUresult 12345"):
        graph.launch(Stream())


@pytest.mark.parametrize("ends", [0, 901])
def test_work_that_fails_ends_the_capture_all_the_same(library: Library, ends: int) -> None:
    def work() -> None:
        raise ValueError("mine")

    library.results["cuStreamEndCapture"] = ends
    with pytest.raises(ValueError, match="mine"):
        cuda_graph.capture(Stream(), work)
    assert ("cuStreamEndCapture", STREAM) in library.calls
    assert (("cuGraphDestroy", GRAPH) in library.calls) is (ends == 0)


@pytest.mark.parametrize("name", ["libno_such_driver.so.1", "libc.so.6"])
def test_a_machine_without_the_calls_has_no_graphs(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cuda_library, "_LIBRARY", name)
    cuda_library._driver.cache_clear()
    with pytest.raises(BackendError, match=r"cannot use .*CUDA 11\.4"):
        cuda_graph.capture(Stream(), lambda: None)
