"""Bundle manifest and its one canonical form, which a signature covers."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fasdk.added_fields import OmitsDefaults, added
from fasdk.bundle.members import GRAPH, MANIFEST
from fasdk.capture import Modality
from fasdk.decision import OperatingPoint, ScoreCalibration
from fasdk.errors import BundleError
from fasdk.preprocess import PreprocessSpec, input_shapes
from fasdk.sequential import SequentialTest

SCHEMA_VERSION: Final = 3
READ_VERSIONS: Final = (2, 3)
"""Schema versions that are read. In version 2 the output `reliability` was the model's certainty.
"""
MAX_BATCH: Final = 1024
"""Largest batch a bundle may state; lanes keep input rows for a whole batch."""
PRODUCT_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MAX_MANIFEST_BYTES: Final = 2**20
"""Largest manifest in bytes; a reader refuses a longer one before its signature is looked at."""
_CERTAINTY_AS_RELIABILITY: Final = 2  # the schema version
_SHA256 = r"^[0-9a-f]{64}$"


class Precision(str, Enum):
    """The numeric types a bundle's graph is written in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT8_FP32 = "int8-fp32"


class _Record(BaseModel):
    # "constants" keeps a NaN a NaN, which the canonical form refuses, rather than a silent null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ModelInfo(_Record):
    """Model that the graph came from.

    Attributes:
        family: Registered name, such as "mmdg".
        config: The settings it was built with, as `--config` takes them.
        parameters: Weights in the deployed graph.
        published_in: The paper or project that defines it.
    """

    family: str
    config: dict[str, Any]
    parameters: int = Field(ge=0)
    published_in: str


class PlanEntry(_Record):
    """A TensorRT-RTX plan built on the workstation.

    Attributes:
        member: Name of the plan's member in the bundle.
        compute_capabilities: GPU generations it was built for, such as "8.6".
        version: TensorRT-RTX release that built it; no other release may load it.
        max_batch: Largest batch of its optimization profile.
    """

    member: str
    compute_capabilities: tuple[str, ...] = Field(min_length=1)
    version: str
    max_batch: int = Field(ge=1, le=MAX_BATCH)


class Provenance(_Record):
    """Where the bundle came from.

    Attributes:
        checkpoint_sha256: Digest of the checkpoint file as it was read.
        tools: Version of each tool that shaped the graph, by name.
        notes: Plain sentences, each on one thing of the source that the build converted, read from
            it, measured or assumed.
    """

    checkpoint_sha256: str = Field(pattern=_SHA256)
    tools: dict[str, str]
    notes: tuple[str, ...] = ()


class Manifest(OmitsDefaults, _Record):
    """Description of a bundle; a signature covers its canonical bytes.

    Attributes:
        schema_version: Version of this layout.
        product: Name of what the bundle is for, such as "lobby-door"; a bundle of another product
            does not take its place.
        revision: Rises by one with every change; a device may refuse an older one.
        model: Identity of the model.
        modalities: Modalities in model order.
        required: Modalities without which a capture is refused; any other may be missing.
        inputs: Preprocessing by modality.
        labels: Class names in logit order.
        live_index: Index of the bona fide logit.
        reliability: Whether the graph has a per-modality `reliability` output: how typical each
            sensor's picture is of the development captures, as a rank in [0, 1], below 0.05 for
            5 % of them. In schema version 2 that output is the model's certainty.
        certainty: Whether the graph has a per-modality `certainty` output: how certain the model is
            of what each sensor shows, in [0, 1], not how likely the face is genuine. Never in
            schema version 2.
        presence: Whether the graph takes `present`, float32 [B, modalities] in model order, 1 where
            a capture holds the modality; then an absent one's pixels cannot matter.
        precision: Types of the graph.
        operating_points: Thresholds; none means the bundle can be profiled, never answer LIVE.
        operating_points_note: Source of the thresholds, or the reason why there are none.
        score_calibrations: Maps from scores to probabilities, by combination of modalities.
        sequential_tests: Verdicts on several frames, each beside the operating point it belongs to.
        max_batch: Largest batch a plan is built for. Where it is 1, every backend is given one
            capture at a time.
        golden_tolerance: Largest score difference allowed on the golden captures.
        plans: Plans built on the workstation.
        provenance: Digest of the source, versions of the tools, and notes of the build.
        members: SHA-256 of every other member but the signature.
        sizes: Size in bytes of each of them; a reader takes no more of the file.
    """

    schema_version: Literal[2, 3] = SCHEMA_VERSION
    product: str = Field(pattern=PRODUCT_PATTERN)
    revision: int = Field(default=1, ge=1)
    model: ModelInfo
    modalities: tuple[Modality, ...] = Field(min_length=1)
    required: tuple[Modality, ...]
    inputs: dict[Modality, PreprocessSpec]
    labels: tuple[str, ...] = Field(min_length=2)
    live_index: int = Field(ge=0)
    reliability: bool
    certainty: bool = added(default=False)
    presence: bool = False
    precision: Precision
    operating_points: tuple[OperatingPoint, ...]
    operating_points_note: str
    score_calibrations: tuple[ScoreCalibration, ...] = ()
    sequential_tests: tuple[SequentialTest, ...] = ()
    max_batch: int = Field(ge=1, le=MAX_BATCH)
    golden_tolerance: float = Field(gt=0.0, le=0.05)
    plans: tuple[PlanEntry, ...] = ()
    provenance: Provenance
    members: dict[str, str] = Field(default_factory=dict)
    sizes: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if set(self.sizes) != set(self.members):
            raise ValueError("members and sizes name different members")
        if self.schema_version == _CERTAINTY_AS_RELIABILITY and self.certainty:
            raise ValueError(
                f"certainty: schema version {self.schema_version} has it as reliability"
            )
        if set(self.inputs) != set(self.modalities):
            raise ValueError("inputs and modalities name different modalities")
        for what, names in (
            ("modalities", self.modalities),
            ("required", self.required),
            ("labels", self.labels),
            ("operating_points", tuple(_combination(p) for p in self.operating_points)),
            ("score_calibrations", tuple(frozenset(c.modalities) for c in self.score_calibrations)),
            ("sequential_tests", tuple(_combination(t) for t in self.sequential_tests)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} names one thing twice")
        if not set(self.required) <= set(self.modalities):
            raise ValueError("a required modality is not among the model's modalities")
        if self.live_index >= len(self.labels):
            raise ValueError(f"live_index {self.live_index} is outside labels {self.labels}")
        self._require_own_points()
        for modality, spec in self.inputs.items():
            if (spec.depth is not None) != (modality is Modality.DEPTH):
                raise ValueError(
                    f"inputs.{modality.value}: a depth encoding belongs to depth alone"
                )
        return self

    def _require_own_points(self) -> None:
        """Refuse thresholds of another model, graph or score: nothing later would notice."""
        graph = self.members.get(GRAPH)
        calibrated = {frozenset(c.modalities) for c in self.score_calibrations}
        named: list[tuple[str, OperatingPoint | ScoreCalibration | SequentialTest]] = [
            (f"operating point {p.id}", p) for p in self.operating_points
        ]
        named += [(f"sequential test {t.id}", t) for t in self.sequential_tests]
        named += [("score calibration", c) for c in self.score_calibrations]
        for name, item in named:
            if not set(item.modalities) <= set(self.modalities):
                raise ValueError(f"{name} names a modality the model lacks")
            if graph is not None and item.graph_sha256 != graph:
                raise ValueError(
                    f"{name} was chosen on graph {item.graph_sha256[:16]}, this is {graph[:16]}: "
                    "another precision or model voids it, choose it again with `fasdk tune`"
                )
        for point in self.operating_points:
            if point.calibrated != (frozenset(point.modalities) in calibrated):
                found = "without" if point.calibrated else "with"
                raise ValueError(
                    f"operating point {point.id} was chosen on other scores: the bundle comes "
                    f"{found} a score calibration for them, run `fasdk tune`"
                )
        points = {point.id: point for point in self.operating_points}
        for test in self.sequential_tests:
            # The frames it takes in were decided at that point, on calibrated scores.
            if test.id not in points or not points[test.id].calibrated:
                raise ValueError(
                    f"sequential test {test.id} comes without its operating point of calibrated "
                    "scores: run `fasdk tune`"
                )

    @property
    def presence_order(self) -> tuple[Modality, ...] | None:
        """Column order of the `present` input, or None where the graph takes none."""
        return self.modalities if self.presence else None

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each graph input by name, without the batch axis."""
        return input_shapes(self.inputs, self.presence_order)

    @property
    def output_shapes(self) -> dict[str, tuple[int]]:
        """Shape of each graph output by name, without the batch axis."""
        shapes = {"logits": (len(self.labels),)}
        if self.certainty:
            shapes["certainty"] = (len(self.modalities),)
        if self.reliability:
            shapes["reliability"] = (len(self.modalities),)
        return shapes

    @property
    def reliability_is_certainty(self) -> bool:
        """Whether the graph's output `reliability` is the model's certainty, as it was once."""
        return self.reliability and self.schema_version == _CERTAINTY_AS_RELIABILITY

    def to_bytes(self) -> bytes:
        """Return the one canonical JSON form: sorted keys, no spaces, UTF-8.

        Raises:
            BundleError: A value has no JSON form, such as a NaN in the model's config.
        """
        try:
            return json.dumps(
                self.model_dump(mode="json"),
                sort_keys=True,
                separators=(",", ":"),
                ensure_ascii=False,
                allow_nan=False,
            ).encode()
        except (ValueError, TypeError) as error:
            raise BundleError(f"{MANIFEST} has no canonical JSON form: {error}") from error


def _combination(point: OperatingPoint | SequentialTest) -> tuple[str, frozenset[Modality]]:
    return point.level, frozenset(point.modalities)


def parse_object(raw: bytes, name: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        BundleError: It is not JSON, or not an object; `name` is named.
    """
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise BundleError(f"{name} is a JSON {type(parsed).__name__}, expected an object")
    return parsed


def other_schema(name: str, version: object) -> BundleError:
    """Return the error about a bundle that states another schema version than this fasdk reads."""
    return BundleError(
        f"{name}: schema version {str(version)[:40]!r}, this fasdk reads "
        f"{' or '.join(map(str, READ_VERSIONS))}: "
        "build it again with `fasdk build-engine`"
    )


def parse_manifest(raw: bytes, name: str) -> Manifest:
    """Return the manifest, if these are its canonical bytes.

    Raises:
        BundleError: Another schema version, a field that is not as it should be, or another form;
            the bundle `name` and the field are named.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"{name}: {MANIFEST} has {len(raw)} bytes, expected at most {MAX_MANIFEST_BYTES}"
        )
    version = parse_object(raw, f"{name}: {MANIFEST}").get("schema_version")
    if type(version) is not int or version not in READ_VERSIONS:
        raise other_schema(name, version)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        fix = ": build it again with this release" if first["type"] == "missing" else ""
        raise BundleError(f"{name}: {MANIFEST}: {where}: {first['msg']}{fix}") from error
    try:
        canonical = manifest.to_bytes()
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error
    if canonical != raw:
        absent = sorted(set(json.loads(canonical)) - set(json.loads(raw)))
        if absent:
            raise BundleError(
                f"{name}: {MANIFEST}: {', '.join(absent)}: Field required: "
                "build it again with this release"
            )
        raise BundleError(f"{name}: {MANIFEST} is not in canonical form")
    return manifest
