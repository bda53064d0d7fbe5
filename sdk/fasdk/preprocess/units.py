"""Usual units of a network's input, by name."""

from __future__ import annotations

from dataclasses import dataclass

from fasdk.preprocess.spec import ChannelOrder, PreprocessSpec

Triple = tuple[float, float, float]
_ALIKE = 0.001  # largest relative difference from a usual value


@dataclass(frozen=True)
class InputUnits:
    """One usual normalization of 8-bit levels.

    Attributes:
        name: Short name for tables and messages.
        mean: Values subtracted from the planes, in 8-bit levels, in the order red, green, blue.
        std: Divisors of the planes after that, in the same units and order.
    """

    name: str
    mean: Triple
    std: Triple

    def values(self, order: ChannelOrder = ChannelOrder.RGB) -> tuple[Triple, Triple]:
        """Return mean and std in the order of a tensor's planes."""
        if order is ChannelOrder.RGB:
            return self.mean, self.std
        mean, std = self.mean[::-1], self.std[::-1]
        return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])

    def applied(self, spec: PreprocessSpec) -> PreprocessSpec:
        """Return a preprocessing with these units, everything else unchanged."""
        mean, std = self.values(spec.channel_order)
        return spec.model_copy(update={"mean": mean, "std": std})


def _same(mean: float, std: float) -> tuple[Triple, Triple]:
    return (mean, mean, mean), (std, std, std)


UNITS = (
    InputUnits("level/255", *_same(0.0, 255.0)),
    InputUnits("levels", *_same(0.0, 1.0)),
    InputUnits("(level-127.5)/127.5", *_same(127.5, 127.5)),
    InputUnits("(level-127.5)/128", *_same(127.5, 128.0)),
    InputUnits("torchvision", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    InputUnits("CLIP", (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)),
    InputUnits("levels minus mean", (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
)


def units_of(spec: PreprocessSpec) -> InputUnits:
    """Return the units of a preprocessing; those without a usual name are called by their values.

    Values that differ from the usual ones by less than a thousandth have their name.
    """
    for units in UNITS:
        if all(
            abs(found - usual) <= _ALIKE * abs(usual)
            for given, named in zip(
                (spec.mean, spec.std), units.values(spec.channel_order), strict=True
            )
            for found, usual in zip(given, named, strict=True)
        ):
            return units
    mean, std = (
        f"{values[0]:g}" if len(set(values)) == 1 else str([float(f"{v:g}") for v in values])
        for values in (spec.mean, spec.std)
    )
    own = InputUnits(f"(level-{mean})/{std}", spec.mean, spec.std)
    in_order = own.values(spec.channel_order)
    return InputUnits(own.name, *in_order)
