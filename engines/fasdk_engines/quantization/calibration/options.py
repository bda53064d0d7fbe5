"""Options of post-training quantization."""

from __future__ import annotations

from dataclasses import dataclass

from fasdk.settings import take_choices
from fasdk_calibration.calibration_set.ranges import RangeMethod


@dataclass(frozen=True)
class QuantizerOptions:
    """Options of the quantizer; each switch can be turned off to measure its benefit.

    Attributes:
        method: Range method of the activations.
        exact_pixels: Whether 8-bit pixel values are held exactly.
        fold_norms: Whether channels are smoothed where a LayerNormalization absorbs it.
        explicit_shift: Whether channels are shifted elsewhere too, by operators of their own.
        explicit_scale: Whether channels are scaled elsewhere too, by operators of their own.
        min_gain: Least share of the noise power, in [0, 1], that such an explicit smoothing must
            remove to be used.
        gptq: Whether weights are rounded against the captures (GPTQ) rather than to nearest.
        bias_correction: Whether the mean error of quantization is corrected in the bias.
        limit_pairs: Whether adjacent weights stay within what a CPU without VNNI adds exactly.
        residual_share: Largest share of all multiply-accumulates, in [0, 1], that may be done
            twice, on activations held in two INT8 terms.
        target_noise: Noise power over signal power of the logits at which no further layer gets
            two INT8 terms.
    """

    method: RangeMethod
    exact_pixels: bool = True
    fold_norms: bool = True
    explicit_shift: bool = True
    explicit_scale: bool = True
    min_gain: float = 0.1
    gptq: bool = True
    bias_correction: bool = True
    limit_pairs: bool = False
    residual_share: float = 0.4
    target_noise: float = 3e-6

    def __post_init__(self) -> None:
        """Take the method as its member."""
        take_choices(self, method=RangeMethod)
