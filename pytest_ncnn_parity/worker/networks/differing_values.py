"""What another model computes in place of some of the reference's values, from those in front of them.

Once a value agrees, what reads it is computed from the reference's, so that a difference ends there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_ncnn_parity.network.counterparts import Counterparts
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made

DEEPEST = 32  # how many layers of the other model may lie behind each other between two known values


class NoValue(Exception):
    """A value of the other model that does not follow from those of the reference that are held."""


class DifferingValues:
    """The values that `net` has computed so far."""

    def __init__(self, net: LoadedNet, counterparts: Counterparts) -> None:
        self._net = net
        self._counterparts = counterparts
        self._made: Made = {}  # by blob there
        self._differing: set[str] = set()  # sources of blobs here

    def differ_in(self, blobs: Iterable[str]) -> bool:
        return any(self._counterparts.sources[blob] in self._differing for blob in blobs)

    def add(self, blobs: Iterable[str]) -> None:
        """Take note that `blobs` here differ, so that what reads them is computed from the other's."""
        self._differing.update(self._counterparts.sources[blob] for blob in blobs)

    def outputs(self, layer: Layer, held: Mapping[str, Blob]) -> dict[str, Blob | None]:
        """Return what corresponds to the outputs of `layer`; None where nothing does.

        `held`: the reference's values. Raises StepFailed or NoValue.
        """
        sources = self._counterparts.sources
        known = {sources[blob]: value for blob, value in held.items()}
        for blob in layer.outputs:
            known.pop(sources[blob], None)
        made: dict[str, Blob | None] = {}
        for here in layer.outputs:
            there = self._counterparts.blob(here)
            made[here] = None if there is None else self._value(there, known, 0)
        return made

    def _value(self, blob: str, known: Mapping[str, Blob], depth: int) -> Blob:
        blob, here = self._counterparts.agreeing(blob)
        if here is not None and here in known and here not in self._differing:
            return known[here]
        if blob not in self._made:
            maker = self._counterparts.there.producer[blob]
            if maker.type == "Input" or depth > DEEPEST:
                raise NoValue(blob)
            inputs = {one: self._value(one, known, depth + 1) for one in maker.inputs}
            self._made.update(self._net.run_layer(maker, inputs, on="changed"))
        return self._made[blob]
