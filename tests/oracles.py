"""Oracles made up, and spaces to search with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ncnn_parity.repair.search import Masks, Space, Spent

STRONG, WEAK, DIRECT = 18, 1, 64  # out of fp16, out of its arithmetic alone, out of winograd


@dataclass
class Asked:
    """An oracle that follows a rule, keeps what it was asked, and is spent after `budget` calls."""

    rule: Callable[[Masks], bool]
    budget: float = math.inf
    asked: list[dict[int, int]] = field(default_factory=list)

    def holds(self, masks: Masks) -> bool:
        if len(self.asked) >= self.budget:
            raise Spent
        self.asked.append(dict(masks))
        return self.rule(masks)

    def held(self) -> list[dict[int, int]]:
        return [masks for masks in self.asked if self.rule(masks)]


def takes(mask: int, wanted: int) -> bool:
    """Whether `mask` takes as much from a layer as `wanted` does: a strong mask takes all there is."""
    return mask & STRONG == STRONG or mask & wanted == wanted


def needs(wanted: Masks) -> Callable[[Masks], bool]:
    """Monotone: each layer of `wanted` must have lost as much as there, or more."""
    return lambda masks: all(takes(masks.get(n, 0), mask) for n, mask in wanted.items())


NEVER = needs({99: STRONG})  # there is no such layer


def chain(
    layers: int = 12,
    seed: Masks | None = None,
    light: Sequence[int] = (WEAK,),
    required: Masks | None = None,
    price: Callable[[Masks], float] = len,
    makers: Mapping[int, Sequence[int]] | None = None,
) -> Space:
    """A space of layers 1 to `layers`, each beside the next, and all with the same `light` masks."""
    numbers = range(1, layers + 1)
    beside = {n: [near for near in (n - 1, n + 1) if near in numbers] for n in numbers}
    return Space(
        layers=numbers,
        seed=seed or {},
        required=required or {},
        strong=STRONG,
        light=dict.fromkeys(numbers, light),
        neighbours=beside,
        price=price,
        makers=makers or {},
        starts=[(f"every layer at {mask}", dict.fromkeys(numbers, mask)) for mask in light],
    )


def strong(*layers: int) -> dict[int, int]:
    return dict.fromkeys(layers, STRONG)
