"""Site profile: limits of gates that commissioning tightened for one camera and one bundle."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind
from fasdk.errors import SiteError
from fasdk.json_model import read_json_model
from fasdk.quality import QualityLimits
from fasdk.site.baseline import Baseline

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION: Final = 1

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class Tightens(Enum):
    """Direction in which a limit refuses more captures."""

    UP = "up"
    DOWN = "down"


TIGHTENS: Final = {
    "several_faces_share": Tightens.DOWN,
    "min_face_px": Tightens.UP,
    "max_face_share": Tightens.DOWN,
    "min_border_px": Tightens.UP,
    "min_distance_mm": Tightens.UP,
    "max_distance_mm": Tightens.DOWN,
    "min_plausible_depth_mm": Tightens.UP,
    "max_yaw_deg": Tightens.DOWN,
    "max_pitch_deg": Tightens.DOWN,
    "max_roll_deg": Tightens.DOWN,
    "min_highlight": Tightens.UP,
    "max_upper_quartile": Tightens.DOWN,
    "min_sharpness": Tightens.UP,
    "max_ir_saturated": Tightens.DOWN,
    "max_depth_holes": Tightens.DOWN,
    "max_blank_span": Tightens.UP,  # a frame that spans at most this is blank
    "min_ir_frame_level": Tightens.UP,
    "max_age_ms": Tightens.DOWN,
    "max_skew_ms": Tightens.DOWN,
}
"""Limits of `QualityLimits` that a site may tighten, and the direction that does."""


class Commissioned(BaseModel):
    """What commissioning counted, for whoever reads the profile later.

    Attributes:
        people: Persons who took part.
        presentations: Presentations of genuine people that were scored.
        refused: Those of them whose score was not above the threshold.
        bpcer_upper: One-sided 95 % upper bound of BPCER, as if presentations were independent.
        threshold: Threshold of the bundle that they were held against.
        turned_away: Fraction of their captures that a gate turned away, in [0, 1].
        attacks: Presentations and accepted ones of each attack instrument that was shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: int = Field(ge=0)
    presentations: int = Field(ge=0)
    refused: int = Field(ge=0)
    bpcer_upper: float = Field(ge=0.0, le=1.0)
    threshold: float = Field(ge=0.0, le=1.0)
    turned_away: float = Field(ge=0.0, le=1.0)
    attacks: dict[str, tuple[int, int]] = {}


class SiteProfile(BaseModel):
    """Profile of one camera with one bundle, as `fasdk commission` writes it.

    It can refuse more captures than the door's own limits do, never fewer, and it holds no
    threshold. The digest shows an edit by hand; it is no signature, so whoever may write the file
    can tighten the gates, and cannot open a door with it.

    Attributes:
        schema_version: Version of this layout.
        bundle_id: Identifier of the bundle it was made with.
        camera: Identity of the camera it was made with, as `Camera.identity` gives it.
        level: Security level whose threshold the scores were held against.
        made_unix_s: Time of commissioning, in seconds since the Unix epoch.
        limits: Limits of gates that are tightened, by the names of `QualityLimits`.
        commissioned: What commissioning counted.
        baseline: What was usual then, for the door's health; None where too little was seen.
        digest: SHA-256 of the other fields, in hexadecimal; empty until it is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    bundle_id: _Sha256
    camera: str = Field(min_length=1)
    level: str
    made_unix_s: int = Field(ge=0)
    limits: dict[str, _Number] = {}
    commissioned: Commissioned
    baseline: Baseline | None = None
    digest: str = ""

    @classmethod
    def load(cls, path: str | Path) -> SiteProfile:
        """Read a profile from its JSON file.

        Raises:
            SiteError: The file is unreadable, no profile, of another version, or was edited.
        """
        profile = read_json_model(path, cls, FileKind.SITE, SiteError)
        if profile.digest != profile.expected_digest():
            raise SiteError(
                f"{path}: digest: is {profile.digest[:8] or 'empty'}, its content has "
                f"{profile.expected_digest()[:8]}, so it was edited: run `fasdk commission` again"
            )
        profile._require_known_limits(str(path))
        return profile

    def save(self, path: Path) -> SiteProfile:
        """Write the profile with its digest, whole or not at all, and return it.

        Raises:
            FasdkError: The file cannot be written.
        """
        written = self.model_copy(update={"digest": self.expected_digest()})
        text = json.dumps(written.model_dump(mode="json"), indent=1, sort_keys=True)
        with atomic_write(path) as file:
            file.write(f"{text}\n".encode())
        return written

    def expected_digest(self) -> str:
        """Return the SHA-256 of all fields but the digest, in hexadecimal."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def require_bundle(self, bundle_id: str) -> None:
        """Check that the profile was made with a bundle.

        Raises:
            SiteError: It was made with another.
        """
        if self.bundle_id != bundle_id:
            raise SiteError(
                f"the site profile was made with bundle {self.bundle_id[:12]}, this is "
                f"{bundle_id[:12]}: run `fasdk commission` with this bundle"
            )

    def require_camera(self, identity: str) -> None:
        """Check that the profile was made with a camera, by `Camera.identity`.

        Raises:
            SiteError: It was made with another.
        """
        if self.camera != identity:
            raise SiteError(
                f"the site profile was made with camera {self.camera}, this is {identity}: run "
                "`fasdk commission` with this camera"
            )

    def tightened(self, limits: QualityLimits) -> QualityLimits:
        """Return quality limits with those of this profile, each at least as strict as before.

        Raises:
            SiteError: A limit of the profile would refuse less than the present one, is no limit
                that a site may set, or is out of its range.
        """
        self._require_known_limits("the site profile")
        for name, value in self.limits.items():
            present = getattr(limits, name)
            if present is None:
                continue
            is_looser = value < present if TIGHTENS[name] is Tightens.UP else value > present
            if is_looser:
                raise SiteError(
                    f"the site profile: limits.{name}: {value:g} would loosen the present limit "
                    f"{present:g}: a site may only tighten; run `fasdk commission` again"
                )
        try:
            return limits.model_copy(update=dict(self.limits))
        except ValidationError as wrong:
            first = wrong.errors()[0]
            where = ".".join(("limits", *map(str, first["loc"])))
            raise SiteError(f"the site profile: {where}: {first['msg']}") from wrong

    def _require_known_limits(self, name: str) -> None:
        unknown = sorted(set(self.limits) - TIGHTENS.keys())
        if unknown:
            raise SiteError(
                f"{name}: limits.{unknown[0]}: no limit of a gate that a site may tighten: choose "
                f"among {', '.join(TIGHTENS)}"
            )
