"""Oracles made up, and spaces to search with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ncnn_parity.repair.search import Masks, Space, Spent

STRONG, WEAK = 18, 1


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


def level(mask: int) -> int:
    """How much a mask takes away: nothing, arithmetic alone, or all 16 bits."""
    return 2 if mask & STRONG == STRONG else 1 if mask & WEAK else 0


def needs(wanted: Masks) -> Callable[[Masks], bool]:
    """Monotone: each layer of `wanted` must have lost as much as there, or more."""
    return lambda masks: all(level(masks.get(n, 0)) >= level(mask) for n, mask in wanted.items())


NEVER = needs({99: STRONG})  # there is no such layer


def chain(
    layers: int = 12,
    seed: Masks | None = None,
    weak: int | None = WEAK,
    required: Masks | None = None,
    price: Callable[[Masks], float] = len,
    makers: Mapping[int, Sequence[int]] | None = None,
) -> Space:
    """A space of layers 1 to `layers`, each beside the next."""
    numbers = range(1, layers + 1)
    beside = {n: [near for near in (n - 1, n + 1) if near in numbers] for n in numbers}
    return Space(numbers, seed or {}, required or {}, STRONG, weak, beside, price, makers or {})


def strong(*layers: int) -> dict[int, int]:
    return dict.fromkeys(layers, STRONG)
