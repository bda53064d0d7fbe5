"""Reading of calibration.json, the member that tells how a bundle was quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasdk.bundle.bundle import CALIBRATION
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
        version = "no schema version" if found is None else f"schema version {found}"
        raise BundleError(
            f"{bundle.path}: {CALIBRATION} has {version}, expected {CALIBRATION_SCHEMA}: "
            "build the bundle again with this release of fasdk"
        )
    return document


def calibrated_subjects(bundle: Bundle) -> frozenset[str] | None:
    """Return the people a bundle was calibrated on; None where it does not say.

    Raises:
        BundleError: calibration.json cannot be read (see `read_calibration`), or its subjects are
            not a list.
    """
    document = read_calibration(bundle)
    subjects = None if document is None else document.get("subjects")
    if subjects is None:
        return None
    if not isinstance(subjects, list):
        raise BundleError(
            f"{bundle.path}: {CALIBRATION}: subjects is {type(subjects).__name__}, expected a "
            "list: build the bundle again"
        )
    return frozenset(map(str, subjects))
