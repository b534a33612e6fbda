"""What is known of a value before it is compared: its natural scale, and which parts it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Nature:
    """How a value was computed, as far as that decides what its error is measured by.

    `unit` is the natural scale of all of it: 1 of a probability, however small its values are; 0
    where there is none. A value that several layers made side by side has `parts`: an integer for each
    element, of a shape that broadcasts to the value's, and a natural scale for each such integer in
    `units`. `sums_to_one`: probabilities that add up to 1 along the axis `along`; of copies that axis is
    not known (None), but their total is. `integers`: whole numbers, of whatever type; they
    are right or wrong, and not near. `gate`: of a value times a probability, the unit of each element.
    """

    unit: float = 0.0
    parts: npt.NDArray[Any] | None = None
    units: Mapping[int, float] = field(default_factory=dict)
    sums_to_one: bool = False
    along: int | None = None
    integers: bool = False
    gate: npt.NDArray[Any] | None = None


UNKNOWN = Nature()
