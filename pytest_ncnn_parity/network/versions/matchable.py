"""What a network must tell of itself to be matched with another one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Protocol

from pytest_ncnn_parity.network.operator_kinds import Binary

Output = tuple[int, int]  # a layer, and the number of its output
# a layer, the number of its input, and the number of the other layer's output that it reads
Reader = tuple[int, int, int]


_COMMUTING = frozenset((Binary.ADD, Binary.MUL, Binary.MAX, Binary.MIN))
_COEFFICIENTS = "-23301"  # of an Eltwise


def commutes(operator: str, params: Mapping[str, str]) -> bool:
    """Whether a layer computes the same whatever the order of its inputs is."""
    if operator == "Eltwise":
        return _COEFFICIENTS not in params
    return operator == "BinaryOp" and params.get("0", "0") in _COMMUTING


def consumers_of(producers: Sequence[Sequence[Output]]) -> list[list[Reader]]:
    """For each layer, which layers read its outputs; `producers` are those of `Matchable`."""
    consumers: list[list[Reader]] = [[] for _ in producers]
    for reader, inputs in enumerate(producers):
        for position, (maker, slot) in enumerate(inputs):
            consumers[maker].append((reader, position, slot))
    return consumers


class Matchable(Protocol):
    """Sequences with one element per layer, in running order."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def types(self) -> Sequence[str]: ...

    @property
    def operators(self) -> Sequence[Hashable]:
        """What each layer is by itself: its type, and those of its parameters that count."""
        ...

    @property
    def producers(self) -> Sequence[Sequence[Output]]:
        """For each layer, where its inputs come from."""
        ...

    @property
    def commuting(self) -> Collection[int]:
        """The layers that `commutes` holds for."""
        ...

    @property
    def consumers(self) -> Sequence[Sequence[Reader]]:
        """For each layer, which layers read its outputs."""
        ...

    @property
    def extracted(self) -> Sequence[Sequence[str]]:
        """For each layer, the outputs of the network that it gives, by name."""
        ...
