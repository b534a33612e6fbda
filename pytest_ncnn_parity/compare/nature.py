"""What is known of a value before it is compared: its natural scale, and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen


class Nature(Frozen):
    """How a value was computed, as far as this decides how its error is measured.

    `unit` is the natural scale of the whole value: 1 for a probability, however small it is; 0 if there
    is none. If several layers produced the value side by side, `parts` has an integer for each element,
    in a shape that broadcasts to the value's, and `units` has a natural scale for each such integer.
    `sums_to_one`: probabilities that add up to 1 along the axis `along`; for copies that axis is not
    known (None), but their total is. `integers`: whole numbers of any type, which are right or wrong,
    never close. `gate`: for a value multiplied by a probability, the unit of each element.
    """

    unit: float = 0.0
    parts: Array | None = None
    units: Mapping[int, float] = field(default_factory=dict)
    sums_to_one: bool = False
    along: int | None = None
    integers: bool = False
    gate: Array | None = None


UNKNOWN = Nature()
