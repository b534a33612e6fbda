"""The evidence about layers that another model computes in int8. Plain values."""

from __future__ import annotations

from typing import Literal

from pytest_ncnn_parity.base.frozen import Frozen

Direction = Literal["down", "up", "towards 0"]


class WeightSteps(Frozen):
    """How far the quantized weights of `layer` are from the fp32 weights, in steps of rounding.

    `largest` is the largest difference. `outputs`, of `total`, have weights that rounding cannot
    explain; a `factor` on their scales makes both agree. `unscaled`: outputs with 0, inf or nan as their
    scale, which makes 0 of weights that are more in floats, up to `unscaled_largest`. `clipped`: the
    share at the end of int8's range, beyond one per output. `wasting`: outputs whose small scales leave
    most steps unused; `spare`: how many times larger those could be. `biased`: which of the `biases` are
    not those in floats, and `bias_off` the largest difference. `matrix`: which one this is, of a layer
    that has several; its rows count as outputs, or its columns: `lines`. `gain`: of weights in blocks,
    by which factor the wrong ones follow those in floats; None in int8. `rounded`: into which direction
    the weights were rounded, if not to the nearest; `against_nearest`: as many of which it shows.
    """

    layer: str
    largest: float
    outputs: tuple[int, ...]
    total: int
    factor: float
    clipped: float
    wasting: tuple[int, ...] = ()
    spare: float = 1.0
    biased: tuple[int, ...] = ()
    biases: int = 0
    bias_off: float = 0.0
    matrix: str = ""
    lines: Literal["rows", "columns"] = "rows"
    gain: float | None = None
    unscaled: tuple[int, ...] = ()
    unscaled_largest: float = 0.0
    rounded: Direction | None = None
    against_nearest: int = 0

    @property
    def others(self) -> bool:
        """Whether rounding does not explain the weights."""
        return bool(self.outputs or self.unscaled)

    @property
    def wrong(self) -> bool:
        """Whether rounding to the nearest explains neither weights nor biases, or few steps are used."""
        return bool(self.others or self.wasting or self.biased or self.rounded)


class OtherScale(Frozen):
    """The output of a layer is `given` in int8 by one scale, and by another `taken` by a `reader`.

    `of_all`: whether no reader has the scale by which it is given.
    """

    given: float
    reader: str
    taken: float
    of_all: bool


class Quantization(Frozen):
    """The rounding of the int8 input of `layer`, and the loss that this rounding alone causes.

    `scale` is the layer's own, `best` 127 over the largest value here; `clipped`: the share of values
    beyond the own. Of the output with only its input rounded, by either, `sqnr_db` and `best_sqnr_db`
    rate the whole, `channels_db` and `best_channels_db` the median channel: see `compare.int8.loss`.
    """

    layer: str
    scale: float
    best: float
    clipped: float
    sqnr_db: float
    channels_db: float
    best_sqnr_db: float
    best_channels_db: float
