"""Comparison of a bundle with the one whose place it takes."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from typing import TYPE_CHECKING, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field

from fasdk.capture import Modality
from fasdk.errors import RollbackError
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.manifest import Manifest

_SHA256 = r"^[0-9a-f]{64}$"
# Steps of APCER by which a level may not get weaker: the bounds of `fasdk tune`'s levels. Between
# them the bound moves with every tuning, by chance.
APCER_STEPS = (0.01, 0.05, 0.1, 1.0)


class BundleChange(str, Enum):
    """Change of a bundle that a device takes only where it was allowed by this name.

    - ROLLBACK: A lower revision of the product.
    - REWRITE: The same revision with other content.
    - PRODUCT: Another product.
    - MODEL: Another model, or one of other settings.
    - MODALITIES: A modality less that the model sees, or that a LIVE needs.
    - LEVELS: A security level less, or one with a larger bound of APCER.
    """

    ROLLBACK = "rollback"
    REWRITE = "rewrite"
    PRODUCT = "product"
    MODEL = "model"
    MODALITIES = "modalities"
    LEVELS = "levels"


class AllowedChanges(TypedDict, total=False):
    """Changes that a call allows; none that is left out is.

    Attributes:
        allow_rollback: Whether `BundleChange.ROLLBACK` is accepted.
        allow_rewrite: Whether `BundleChange.REWRITE` is accepted.
        allow_product: Whether `BundleChange.PRODUCT` is accepted.
        allow_model: Whether `BundleChange.MODEL` is accepted.
        allow_modalities: Whether `BundleChange.MODALITIES` is accepted.
        allow_levels: Whether `BundleChange.LEVELS` is accepted.
    """

    allow_rollback: bool
    allow_rewrite: bool
    allow_product: bool
    allow_model: bool
    allow_modalities: bool
    allow_levels: bool


class LevelIdentity(BaseModel):
    """What a security level of a bundle promises.

    Attributes:
        needed: Modalities without which nothing is LIVE at this level.
        apcer_upper: Largest upper bound of APCER among its operating points, in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    needed: tuple[Modality, ...]
    apcer_upper: float = Field(ge=0.0, le=1.0)


class BundleIdentity(BaseModel):
    """What a bundle is compared by with its successor.

    Attributes:
        product: Product that the bundle is for.
        revision: Revision of the bundle.
        bundle_id: SHA-256 of its manifest, in hexadecimal.
        model: Name of its model.
        config_sha256: SHA-256 of the model's settings, in hexadecimal.
        modalities: Modalities that the model sees.
        levels: Promise of each security level by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: str = Field(min_length=1)
    revision: int = Field(ge=1)
    bundle_id: str = Field(pattern=_SHA256)
    model: str
    config_sha256: str = Field(pattern=_SHA256)
    modalities: tuple[Modality, ...]
    levels: dict[str, LevelIdentity]

    @classmethod
    def of(cls, bundle: Bundle) -> BundleIdentity:
        """Return what a verified bundle is compared by."""
        manifest = bundle.manifest
        return cls(
            product=manifest.product,
            revision=manifest.revision,
            bundle_id=bundle.id,
            model=manifest.model.family,
            config_sha256=_config_sha256(manifest),
            modalities=tuple(sorted(manifest.modalities)),
            levels=_levels(manifest),
        )


def changes(
    old: BundleIdentity, new: BundleIdentity, *, before: str = "the bundle in force"
) -> dict[BundleChange, str]:
    """Return how a bundle falls short of the one whose place it takes, a sentence for each change.

    More modalities needed, more levels and smaller bounds are no such change.

    Args:
        old: Bundle whose place it takes.
        new: Bundle that is to take it.
        before: Description of the old one in the sentences.
    """
    return dict(_changes(old, new, before))


def require_successor(
    old: BundleIdentity, new: BundleIdentity, allowed: Collection[BundleChange], *, name: str
) -> None:
    """Check that a bundle may take the place of another.

    Args:
        old: Bundle whose place it takes.
        new: Bundle that is to take it.
        allowed: Changes that the caller allows.
        name: Name of the new bundle, for the message.

    Raises:
        RollbackError: It changes what is not allowed; every such change is named with the way to
            allow it.
    """
    refused = {c: text for c, text in changes(old, new).items() if c not in allowed}
    if refused:
        raise RollbackError(f"{name}: {'; '.join(refused.values())}: {how_to_allow(refused)}")


def how_to_allow(refused: Collection[BundleChange]) -> str:
    """Return the instruction that allows changes, for a program and for the command line."""
    names = [change.value for change in BundleChange if change in refused]
    return (
        f"if that is intended, pass {', '.join(f'allow_{name}=True' for name in names)} "
        f"({' '.join(f'--allow {name}' for name in names)} on the command line)"
    )


def allowed_changes(allow: AllowedChanges) -> frozenset[BundleChange]:
    """Return the changes that are allowed.

    Raises:
        TypeError: A name is of no change.
    """
    known = {f"allow_{change.value}": change for change in BundleChange}
    for name in allow:
        if name not in known:
            raise TypeError(
                f"unexpected keyword argument {name!r}; such ones are {', '.join(known)}"
            )
    return frozenset(change for name, change in known.items() if allow.get(name))


def allowing(names: Iterable[str]) -> AllowedChanges:
    """Return the changes of these names, such as "rollback", as allowed ones.

    Raises:
        UsageError: A name is of no change; the known ones are named.
    """
    chosen = [as_choice("allow", name, BundleChange) for name in names]
    return cast("AllowedChanges", {f"allow_{change.value}": True for change in chosen})


def _config_sha256(manifest: Manifest) -> str:
    settings = manifest.model.model_dump(mode="json")["config"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _levels(manifest: Manifest) -> dict[str, LevelIdentity]:
    found = {}
    for level in sorted({point.level for point in manifest.operating_points}):
        points = [point for point in manifest.operating_points if point.level == level]
        in_all = set.intersection(*(set(point.modalities) for point in points))
        found[level] = LevelIdentity(
            needed=tuple(sorted(in_all | set(manifest.required))),
            apcer_upper=max(point.apcer_upper for point in points),
        )
    return found


def _changes(
    old: BundleIdentity, new: BundleIdentity, before: str
) -> Iterator[tuple[BundleChange, str]]:
    if new.product != old.product:
        yield BundleChange.PRODUCT, f"is of product {new.product!r}, {before} of {old.product!r}"
    if new.revision < old.revision:
        yield (
            BundleChange.ROLLBACK,
            f"is revision {new.revision}, {before} is revision {old.revision}",
        )
    if new.revision == old.revision and new.bundle_id != old.bundle_id:
        yield (
            BundleChange.REWRITE,
            f"is revision {new.revision} as {before} is, with other content "
            f"({new.bundle_id[:16]}, not {old.bundle_id[:16]})",
        )
    if new.model != old.model:
        yield BundleChange.MODEL, f"holds model {new.model!r}, {before} {old.model!r}"
    elif new.config_sha256 != old.config_sha256:
        yield BundleChange.MODEL, f"holds model {new.model!r} with other settings than {before}"
    yield from _modality_changes(old, new, before)
    yield from _level_changes(old, new, before)


def _modality_changes(
    old: BundleIdentity, new: BundleIdentity, before: str
) -> Iterator[tuple[BundleChange, str]]:
    unseen = _absent(old.modalities, new.modalities)
    told = [f"does not see {unseen}, which {before} sees"] if unseen else []
    told += [
        f"answers LIVE at level {level!r} without {lost}, which {before} needs"
        for level in sorted(old.levels.keys() & new.levels.keys())
        if (lost := _absent(old.levels[level].needed, new.levels[level].needed))
    ]
    if told:
        yield BundleChange.MODALITIES, ", ".join(told)


def _level_changes(
    old: BundleIdentity, new: BundleIdentity, before: str
) -> Iterator[tuple[BundleChange, str]]:
    told = []
    if lost := sorted(old.levels.keys() - new.levels.keys()):
        told.append(f"lacks security level {', '.join(lost)}, which {before} has")
    for level in sorted(old.levels.keys() & new.levels.keys()):
        was, now = old.levels[level].apcer_upper, new.levels[level].apcer_upper
        if _step(now) > _step(was):
            told.append(f"bounds APCER at level {level!r} by {now:.4g}, {before} by {was:.4g}")
    if told:
        yield BundleChange.LEVELS, ", ".join(told)


def _absent(old: tuple[Modality, ...], new: tuple[Modality, ...]) -> str:
    return ", ".join(modality.value for modality in old if modality not in new)


def _step(apcer_upper: float) -> float:
    return next(step for step in APCER_STEPS if apcer_upper <= step)
