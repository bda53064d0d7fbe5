"""Layers of a graph as a backend runs them, and the whole call they are part of."""

from __future__ import annotations

from pydantic import Field

from fasdk_tools.profiling.document import Document


class Layer(Document):
    """One layer of a graph as it ran, which an optimizer may have fused from several nodes."""

    name: str = Field(description="Name of the layer.")
    operator: str = Field(description="Operator that ran, such as Conv; or 'unknown'.")
    precision: str = Field(
        description="Type it computes in or of its first output, such as float or float16; or "
        "'unknown'."
    )
    ms: float = Field(
        description="Median time of one call, in milliseconds; of OpenVINO the mean, all it tells."
    )
    is_reformat: bool = Field(description="Whether it only changes a layout or a type.")


class LayerProfile(Document):
    """Layers of a graph and the whole call they are part of; the profiler slows both down."""

    batch: int = Field(description="Captures in one call.")
    calls: int = Field(description="Calls counted.")
    whole_ms: float = Field(
        description="Median time of the whole call, in milliseconds; of OpenVINO the mean, of "
        "TensorRT the execution of calls beside those that were profiled."
    )
    layers: tuple[Layer, ...] = Field(description="Layers, slowest first.")
    not_told: tuple[str, ...] = Field(
        (), description="What the backend does not tell of its layers, and why."
    )

    @property
    def sum_ms(self) -> float:
        """Sum of the layers, in milliseconds."""
        return sum(layer.ms for layer in self.layers)

    @property
    def gap_ms(self) -> float:
        """What the whole call takes beyond its layers, in milliseconds; below 0 where they overlap.

        Each is a median of its own, so that the gap holds their scatter as well.
        """
        return self.whole_ms - self.sum_ms

    @property
    def reformat_share(self) -> float:
        """Share of the layers' time that only changes layouts or types, in [0, 1]."""
        spent_ms = sum(layer.ms for layer in self.layers if layer.is_reformat)
        return spent_ms / self.sum_ms if self.sum_ms else 0.0
