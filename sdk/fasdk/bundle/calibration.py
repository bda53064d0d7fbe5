"""Reader of calibration.json, the member of a quantized bundle that records its calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasdk.bundle.members import CALIBRATION
from fasdk.errors import BundleError

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle

CALIBRATION_SCHEMA = 2  # of calibration.json; the first schema had no version


def read_calibration(bundle: Bundle) -> dict[str, Any] | None:
    """Return calibration.json, or None where the bundle has none.

    Raises:
        BundleError: It is not a JSON object, or has another schema version.
    """
    document = bundle.document(CALIBRATION)
    if document is None:
        return None
    found = document.get("schema_version")
    if found != CALIBRATION_SCHEMA:
        version = "no schema version" if found is None else f"schema version {found!r}"
        raise BundleError(
            f"{bundle.path}: {CALIBRATION} has {version}, expected {CALIBRATION_SCHEMA}: "
            "build the bundle again with this release of fasdk"
        )
    return document
