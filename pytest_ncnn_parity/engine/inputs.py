"""What a job feeds to a blob: values that a worker draws or reads from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_ncnn_parity.base.frozen import Frozen


class NormalInput(Frozen):
    """Values drawn from a normal distribution with `seed`, clipped to `low` and `high` if given."""

    shape: tuple[int, ...]
    seed: int
    mean: float
    std: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return "normal"


class RangeInput(Frozen):
    """Values from `low` to `high`, drawn with `seed`; `random` is uniform, smooth or integers."""

    random: str
    shape: tuple[int, ...]
    seed: int
    low: float
    high: float

    def __str__(self) -> str:
        return self.random


class ConstantInput(Frozen):
    """The same value in every element."""

    constant: float
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return str(self.constant)


class Recording(Frozen):
    """An array in a file: a .npy, or the array `key` of an .npz."""

    file: str
    key: str | None = None

    def __str__(self) -> str:
        return self.file


class ImageInput(Frozen):
    """An image file, fed as (pixel - mean) * norm for each channel.

    `color` is rgb, bgr or gray; `size` is (width, height) in pixels.
    """

    image: str
    color: str = "rgb"
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    norm: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return self.image


Input = NormalInput | RangeInput | ConstantInput | Recording | ImageInput


def decoded(raw: Mapping[str, Any]) -> Input:
    """Return the input that `raw`, taken from a job's line, describes."""
    if "file" in raw:
        return Recording(**raw)
    plain: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in raw.items()
    }
    if "image" in raw:
        return ImageInput(**plain)
    if "constant" in raw:
        return ConstantInput(**plain)
    return RangeInput(**plain) if "random" in raw else NormalInput(**plain)
