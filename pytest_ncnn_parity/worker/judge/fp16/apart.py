"""Finds which of several values outside fp16's range does harm, where they meet in one layer.

Example: scores beyond 65504 and a mask of -1e9 are added. inf - inf is nan, but only the scores are at
fault. So each value is replaced by inf on its own, while all others are as in the reference, and the
effect is followed from layer to layer until one is right with it, or wrong.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain

import numpy as np

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.values.blob import Blob, Made

Meeting = tuple[str, int]  # a comparison, and a layer that reads such values
Begun = tuple[Meeting, str]  # a meeting, and the blob that is inf there


class Apart:
    """Follows the values outside fp16's range that meet in a layer one by one, for one sample.

    What follows from a blob may be what another layer reads as such a value itself. From there on only
    that one is followed: in a row of such layers each would be followed through all others otherwise.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._met: dict[Meeting, Made] = {}  # with its values, until the layer has been looked at
        self._seen: set[Meeting] = set()  # the layers that have been judged, by comparison
        # the values that follow if one blob is inf, until their last reader has been judged
        self._followed: dict[Begun, Made] = {}
        # by comparison and blob, what has a value for it
        self._at: dict[tuple[str, str], list[Begun]] = {}
        self._joined: dict[Begun, set[Begun]] = {}  # where each is followed on
        self._joined_by: dict[Begun, set[Begun]] = {}
        self._closed: set[Begun] = set()  # those of which nothing is left to follow
        self._harmful: dict[Meeting, set[str]] = {}

    def meet(self, comparison: str, layer: Layer, beyond: Made) -> None:
        """Begin to follow the values in `beyond`, which `layer` reads as fp16 stores them."""
        meeting = comparison, layer.number
        if meeting in self._met:
            return
        self._met[meeting] = beyond
        for blob, value in beyond.items():
            self._followed[meeting, blob] = {}
            self._follow((meeting, blob), blob, value)
            self._step((meeting, blob), layer)
        self._let_go(comparison, layer)

    def look(self, comparison: str, layer: Layer) -> None:
        """Follow the effects of such values into `layer`, while its inputs are still held.

        To be called after `layer` has met its own.
        """
        here = comparison, layer.number
        self._seen.add(here)
        met = self._met.get(here, {})
        followed = chain.from_iterable(self._at.get((comparison, blob), ()) for blob in layer.inputs)
        for begun in dict.fromkeys(followed):
            values = self._followed.get(begun)
            if values is None or begun[0] == here:
                continue
            (blob, *more) = values.keys() & set(layer.inputs)
            if not more and blob in met and _infinite_alike(values[blob], met[blob]):
                self._join(begun, (here, blob))
            else:
                self._step(begun, layer)
        if met:
            self._met[here] = {}
        self._let_go(comparison, layer)

    def _follow(self, begun: Begun, blob: str, value: Blob) -> None:
        """Take note that `value` in place of `blob` follows from `begun`."""
        self._followed[begun][blob] = value
        self._at.setdefault((begun[0][0], blob), []).append(begun)

    def _join(self, begun: Begun, other: Begun) -> None:
        """From here on, what follows from `begun` is what follows from `other`."""
        self._joined.setdefault(begun, set()).add(other)
        self._joined_by.setdefault(other, set()).add(begun)
        if self._is_harmful(other):
            self._does_harm(begun)

    def _does_harm(self, begun: Begun) -> None:
        """Record that `begun` does harm, and so all that was joined to it."""
        found = [begun]
        while found:
            one = found.pop()
            if not self._is_harmful(one):
                meeting, blob = one
                self._harmful.setdefault(meeting, set()).add(blob)
                self._followed.pop(one, None)
                found += self._joined_by.get(one, ())

    def _is_harmful(self, begun: Begun) -> bool:
        meeting, blob = begun
        return blob in self._harmful.get(meeting, ())

    def _let_go(self, comparison: str, layer: Layer) -> None:
        """Drop every value whose last reader was `layer`; a network may be full of such values."""
        for blob in layer.inputs:
            if not self._is_read(comparison, blob):
                continue
            for begun in self._at.pop((comparison, blob), ()):
                values = self._followed.get(begun, {})
                values.pop(blob, None)
                if not values:
                    self._followed.pop(begun, None)

    def _is_read(self, comparison: str, blob: str) -> bool:
        """Whether all readers of `blob` have been judged."""
        readers = self._reference.graph.consumers[blob]
        return all((comparison, reader.number) in self._seen for reader in readers)

    def _step(self, begun: Begun, layer: Layer) -> None:
        tolerance = self._reference.tolerance(begun[0][0], layer)
        if not self._reference.has_all_of(layer) or not self._passes_on(begun, layer, tolerance):
            self._does_harm(begun)

    def _passes_on(self, begun: Begun, layer: Layer, tolerance: Tolerance) -> bool:
        """Whether `layer`, given what follows from `begun`, is right, or differs only by inf.

        Outputs that differ by inf of the right sign are followed further. An output of the network has
        no reader that could be right with it.
        """
        values, blobs = self._followed[begun], self._reference.blobs
        try:
            outputs = self._reference.run(layer, {b: values.get(b, blobs[b]) for b in layer.inputs})
        except StepFailed:
            return False
        for name, output in outputs.items():
            expected = blobs[name]
            if not output.floating:
                return False
            if self._reference.differs(name, output, expected, tolerance) == "none":
                continue
            if not self._reference.is_only_read(name):
                return False
            stored = output.stored(), expected.stored()
            if self._reference.differs(name, *stored, tolerance) == "wrong":
                return False
            self._follow(begun, name, output)
        return True

    def clears(self, comparison: str, layer: Layer, blob: str, right: bool) -> bool:
        """Whether `blob` alone does no harm, whatever all the values that meet in `layer` do together.

        `right`: `layer` is right with all of them, and its outputs are then judged as its own. Where it
        is wrong, and no value does harm alone, all of them are to blame.
        """
        meeting, harmful = (comparison, layer.number), self.guilty(comparison, layer)
        if meeting not in self._met or blob in harmful or self._is_open((meeting, blob)):
            return False
        return right or bool(harmful)

    def _is_open(self, begun: Begun) -> bool:
        """Whether an effect of `begun` has a reader that was not run, as in a run of few cases."""
        found, visited = [begun], set()
        while found:
            one = found.pop()
            if one in visited or one in self._closed:
                continue
            visited.add(one)
            (comparison, _), blob = one
            later = (name for name in self._followed.get(one, ()) if name != blob)
            if not all(self._is_read(comparison, name) for name in later):
                return True
            found += self._joined.get(one, ())
        self._closed |= visited
        return False

    def guilty(self, comparison: str, layer: Layer) -> Collection[str]:
        """Those of the values that met in `layer` which are known so far to do harm on their own."""
        return self._harmful.get((comparison, layer.number), set())


def _infinite_alike(one: Blob, other: Blob) -> bool:
    """Whether both are inf in the same places, with the same signs."""
    if one.shape != other.shape or not (one.floating and other.floating):
        return False
    infinite, too = (np.where(np.isinf(value), value, 0.0) for value in (one.array, other.array))
    return bool(np.array_equal(infinite, too))
