"""The bundle: a typed graph with everything needed to use it rightly, verified before use.

`open_bundle` reads the file once, checks the container, signature, digests and manifest, and hands
out those very bytes; nothing is deserialised before that.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fasdk.archive import MAX_BYTES, read_archive, write_archive
from fasdk.atomic import atomic_write
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.decision import OperatingPoint, ScoreCalibration
from fasdk.errors import BundleError, TamperedError
from fasdk.preprocess import PreprocessSpec, input_shapes
from fasdk.trust import TrustPolicy, sign

SCHEMA_VERSION: Final = 1
MANIFEST, SIGNATURE, GRAPH = "manifest.json", "manifest.sig", "model.onnx"
CALIBRATION, EVALUATION = "calibration.json", "evaluation.json"
_MEMBER_ORDER = re.compile(
    r"manifest\.json|manifest\.sig|model\.onnx|plans/.*\.plan|golden/.*\.npz"
    r"|calibration\.json|evaluation\.json"
)
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
    """Which model the graph came from.

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
        member: Its name in the bundle.
        compute_capabilities: GPU generations it was built for, such as "8.6".
        version: TensorRT-RTX release that built it; no other release may load it.
        max_batch: Largest batch of its optimisation profile.
    """

    member: str
    compute_capabilities: tuple[str, ...] = Field(min_length=1)
    version: str
    max_batch: int = Field(ge=1)


class Provenance(_Record):
    """Where the bundle came from.

    Attributes:
        checkpoint_sha256: Digest of the checkpoint file as it was read.
        tools: Version of each tool that shaped the graph, by name.
    """

    checkpoint_sha256: str = Field(pattern=_SHA256)
    tools: dict[str, str]


class Manifest(_Record):
    """What a bundle says of itself; its canonical bytes are what a signature covers.

    Attributes:
        schema_version: Version of this layout.
        revision: Rises by one with every change; a device may refuse an older one.
        model: Which model.
        modalities: Model order.
        required: Modalities without which a capture is refused; any other may be missing.
        inputs: Preprocessing by modality.
        labels: Class names in logit order.
        live_index: Which logit is bona fide.
        reliability: Whether the graph has a per-modality `reliability` output: how certain the
            model is of what each sensor shows, not how likely the face is genuine.
        presence: Whether the graph takes `present`, float32 [B, modalities] in model order, 1 where
            a capture holds the modality; then an absent one's pixels cannot matter.
        precision: Types of the graph.
        operating_points: Thresholds; none means the bundle can be profiled, never answer LIVE.
        operating_points_note: Where the thresholds come from, or why there are none.
        score_calibrations: What makes scores probabilities, by combination of modalities.
        max_batch: Largest batch a plan is built for.
        golden_tolerance: Largest score difference allowed on the golden captures.
        plans: Prebuilt plans.
        provenance: Where it came from.
        members: SHA-256 of every other member but the signature.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    revision: int = Field(default=1, ge=1)
    model: ModelInfo
    modalities: tuple[Modality, ...] = Field(min_length=1)
    required: tuple[Modality, ...]
    inputs: dict[Modality, PreprocessSpec]
    labels: tuple[str, ...] = Field(min_length=2)
    live_index: int = Field(ge=0)
    reliability: bool
    presence: bool = False
    precision: Precision
    operating_points: tuple[OperatingPoint, ...]
    operating_points_note: str
    score_calibrations: tuple[ScoreCalibration, ...] = ()
    max_batch: int = Field(ge=1)
    golden_tolerance: float = Field(gt=0.0, le=0.05)
    plans: tuple[PlanEntry, ...] = ()
    provenance: Provenance
    members: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if set(self.inputs) != set(self.modalities):
            raise ValueError("inputs and modalities name different modalities")
        for what, names in (
            ("modalities", self.modalities),
            ("required", self.required),
            ("labels", self.labels),
            ("operating_points", tuple(_combination(p) for p in self.operating_points)),
            ("score_calibrations", tuple(frozenset(c.modalities) for c in self.score_calibrations)),
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
        """Refuse thresholds of another model, graph or score: they would be believed."""
        graph = self.members.get(GRAPH)
        calibrated = {frozenset(c.modalities) for c in self.score_calibrations}
        named: list[tuple[str, OperatingPoint | ScoreCalibration]] = [
            (f"operating point {p.id}", p) for p in self.operating_points
        ]
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

    @property
    def presence_order(self) -> tuple[Modality, ...] | None:
        """Column order of the `present` input, or None where the graph takes none."""
        return self.modalities if self.presence else None

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each graph input by name, without the batch axis."""
        return input_shapes(self.inputs, self.presence_order)

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


def _combination(point: OperatingPoint) -> tuple[str, frozenset[Modality]]:
    return point.level, frozenset(point.modalities)


@dataclass(frozen=True, eq=False)
class GoldenCapture:
    """A capture with the answer the workstation gave, so that a device can prove itself.

    Attributes:
        capture: Raw frames.
        logits: float32 [classes], from the bundle's own graph on ONNX Runtime.
    """

    capture: Capture
    logits: np.ndarray[Any, np.dtype[np.float32]]

    def to_bytes(self) -> bytes:
        """Return the capture as an npz file of plain arrays."""
        arrays: dict[str, np.ndarray[Any, Any]] = {
            m.value: self.capture.frame(m) for m in self.capture.present
        }
        arrays["logits"] = self.logits
        if self.capture.face is not None:
            face = FaceBox.of(self.capture.face)
            arrays["face"] = np.array([face.x, face.y, face.width, face.height], np.int32)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, name: str) -> GoldenCapture:
        """Read `to_bytes` back.

        Raises:
            BundleError: It is not an npz of the expected plain arrays.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in archive.files}
            frames = {m.value: arrays.pop(m.value) for m in Modality if m.value in arrays}
            face, logits = arrays.pop("face", None), arrays.pop("logits")
            if arrays:
                raise ValueError(f"it holds {', '.join(sorted(arrays))} besides")
            if logits.dtype != np.float32 or logits.ndim != 1:
                raise ValueError(f"logits are {logits.dtype} {list(logits.shape)}, not float32 [n]")
            return cls(Capture(**frames, face=None if face is None else face.tolist()), logits)
        except Exception as error:
            raise BundleError(f"{name}: not a golden capture: {error}") from error


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: the manifest, and the very bytes whose digests were checked.

    Attributes:
        path: Where it was read from.
        manifest: What it says of itself.
        id: SHA-256 of the manifest's bytes; it names graph, thresholds and preprocessing at once.
        size_bytes: Size of the file.
        signed_by: Id of the trusted key that signed it, or None where no signature was asked for.
        is_signed: Whether it carries a signature at all.
    """

    path: Path
    manifest: Manifest
    id: str
    size_bytes: int
    signed_by: str | None
    is_signed: bool
    _members: dict[str, memoryview] = field(repr=False)

    @property
    def graph(self) -> memoryview:
        """The ONNX graph's bytes."""
        return self._members[GRAPH]

    @property
    def golden(self) -> list[GoldenCapture]:
        """The golden captures, decoded."""
        return [
            GoldenCapture.from_bytes(content, f"{self.path}:{name}")
            for name, content in self._members.items()
            if name.startswith("golden/")
        ]

    @property
    def member_sizes(self) -> dict[str, int]:
        """Size in bytes of every member, in file order."""
        return {name: len(content) for name, content in self._members.items()}

    @property
    def members(self) -> dict[str, memoryview]:
        """Every member's bytes by name, in file order, but the manifest and its signature."""
        return {k: v for k, v in self._members.items() if k not in (MANIFEST, SIGNATURE)}

    def plan(self, entry: PlanEntry) -> memoryview:
        """Return a prebuilt plan's bytes."""
        return self._members[entry.member]

    def document(self, name: str) -> dict[str, Any] | None:
        """Return calibration.json or evaluation.json as a dictionary, or None if absent.

        Raises:
            BundleError: The member is not a JSON object.
        """
        if name not in self._members:
            return None
        return _parse_object(bytes(self._members[name]), f"{self.path}: {name}")


def open_bundle(path: Path, trust: TrustPolicy | None = None) -> Bundle:
    """Read and verify a bundle.

    Args:
        path: The `.fasb` file.
        trust: Which signatures are required; None asks for none.

    Raises:
        BundleError: Missing, truncated, altered, or of another schema version.
        TrustError: A required signature is absent or does not hold.
    """
    path = Path(path)
    name = str(path)
    data = _read(path)
    members = read_archive(data, name)
    if next(iter(members)) != MANIFEST:
        raise BundleError(f"{name} is not a fasdk bundle: its first member is not {MANIFEST}")
    raw_manifest = bytes(members[MANIFEST])
    signature = bytes(members[SIGNATURE]) if SIGNATURE in members else None
    signed_by = (trust or TrustPolicy()).check(raw_manifest, signature, name)
    manifest = _parse_manifest(raw_manifest, name)
    _check_members(manifest, members, name)
    return Bundle(
        path=path,
        manifest=manifest,
        id=hashlib.sha256(raw_manifest).hexdigest(),
        size_bytes=len(data),
        signed_by=signed_by,
        is_signed=signature is not None,
        _members=members,
    )


def write_bundle(
    path: Path, manifest: Manifest, members: dict[str, bytes], sign_key: Path | None = None
) -> Manifest:
    """Write a bundle atomically and return its manifest with the members' digests filled in.

    Args:
        path: Where to; an older bundle there stays intact unless all goes well.
        manifest: Everything but `members`.
        members: model.onnx, plans/*.plan, golden/*.npz, calibration.json, evaluation.json.
        sign_key: PEM file of an Ed25519 private key, or None to leave it unsigned.

    Raises:
        BundleError: The members and the manifest do not make a bundle `open_bundle` would read.
        FasdkError: The disk is full or the folder is not writable.
        TrustError: The key is unusable.
    """
    for own in (MANIFEST, SIGNATURE):
        if own in members:
            raise BundleError(f"{path}: {own} is written by write_bundle, do not pass it")
    ordered = dict(sorted(members.items(), key=lambda item: _rank(item[0], str(path))))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in ordered.items()}
    manifest = manifest.model_copy(update={"members": digests})
    head = {MANIFEST: manifest.to_bytes()}
    if sign_key is not None:
        head[SIGNATURE] = sign(head[MANIFEST], sign_key)
    # What is written must open: no later reader gets a bundle this writer would refuse.
    views = {member: memoryview(content) for member, content in (head | ordered).items()}
    _check_members(_parse_manifest(head[MANIFEST], str(path)), views, str(path))
    with atomic_write(path) as file:
        write_archive(file, head | ordered)
    return manifest


def _rank(member: str, name: str) -> tuple[int, str]:
    order = (MANIFEST, SIGNATURE, GRAPH, "plans/", "golden/", CALIBRATION, EVALUATION)
    for rank, prefix in enumerate(order):
        if member.startswith(prefix) and _MEMBER_ORDER.fullmatch(member):
            return rank, member
    raise BundleError(f"{name}: {member!r} is not a member a bundle can hold")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"cannot read bundle {path}: not a regular file")
            if found.st_size > MAX_BYTES:
                raise BundleError(
                    f"{path}: {found.st_size} bytes, a bundle has at most {MAX_BYTES}"
                )
            return file.read()
    except (OSError, ValueError, MemoryError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BundleError(f"cannot read bundle {path}: {why}") from error


def _parse_object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise BundleError(f"{name} is a JSON {type(parsed).__name__}, expected an object")
    return parsed


def _parse_manifest(raw: bytes, name: str) -> Manifest:
    version = _parse_object(raw, f"{name}: {MANIFEST}").get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise BundleError(
            f"{name}: schema version {str(version)[:40]!r}, this fasdk reads {SCHEMA_VERSION}: "
            "use the release that built it, or build it again"
        )
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        mend = ": build it again with this release" if first["type"] == "missing" else ""
        raise BundleError(f"{name}: {MANIFEST}: {where}: {first['msg']}{mend}") from error
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


def _check_members(manifest: Manifest, members: dict[str, memoryview], name: str) -> None:
    ranks = [_rank(member, name) for member in members]
    if ranks != sorted(ranks):
        raise BundleError(f"{name}: members are not in canonical order")
    content = {k: v for k, v in members.items() if k not in (MANIFEST, SIGNATURE)}
    if set(content) != set(manifest.members) or GRAPH not in content:
        odd = sorted(set(content) ^ set(manifest.members)) or [GRAPH]
        raise BundleError(f"{name}: members and manifest disagree about {', '.join(odd)}")
    for member, view in content.items():
        if hashlib.sha256(view).hexdigest() != manifest.members[member]:
            raise TamperedError(f"{name}: member {member} does not match its digest")
    held = {member for member in content if member.startswith("plans/")}
    listed = [entry.member for entry in manifest.plans]
    if held != set(listed) or len(listed) != len(held):
        odd = sorted(held ^ set(listed)) or listed
        raise BundleError(f"{name}: plans and manifest disagree about {', '.join(odd)}")
