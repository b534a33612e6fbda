"""What a job feeds to a blob: values that a worker draws, or reads from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NormalInput:
    """Values of a normal distribution, drawn from `seed`, clipped to `low` and `high` where given."""

    shape: tuple[int, ...]
    seed: int
    mean: float
    std: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True)
class RangeInput:
    """Values from `low` to `high`, drawn from `seed`; `random` is uniform, smooth or integers."""

    random: str
    shape: tuple[int, ...]
    seed: int
    low: float
    high: float

    def __str__(self) -> str:
        return self.random


@dataclass(frozen=True)
class ConstantInput:
    """One value everywhere."""

    constant: float
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return str(self.constant)


@dataclass(frozen=True)
class Recording:
    """An array in a file: .npy, or under `key` in an .npz."""

    file: str
    key: str | None = None

    def __str__(self) -> str:
        return self.file


@dataclass(frozen=True)
class ImageInput:
    """An image file: (pixel - mean) * norm by channel.

    `color` is rgb, bgr or gray; `size` is width and height.
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
    """The input that a job's line holds as `raw`."""
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
