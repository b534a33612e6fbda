"""Values outside fp16's range: which layers produce, store or read them, and whether it matters.

fp16 turns such a value into inf. That is a fault of the layer that produced it if a layer that reads it
is then wrong. It is none if every reader is right, as with a mask of -1e9 in front of a Softmax, a
Sigmoid or a Clip. This is known only once the readers have run, so results upstream are held back until
then.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import partial

from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Unrepresentable
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.judge.fp16.apart import Apart
from pytest_ncnn_parity.worker.judge.fp16.in_fp16 import reads_fp16, stores_fp16, was_in_fp16
from pytest_ncnn_parity.worker.judge.fp16.reach import Reach
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# the outputs that hold inf where the reference has a value beyond fp16 of the same sign
HandedOn = frozenset[str]
PassedOn = tuple[str, bool]  # a blob, and whether it was computed from a value that was in fp16


class BeyondFp16:
    """Follows the reference's values that fp16 cannot hold from layer to layer, for one sample."""

    def __init__(self, reference: Reference, is_lost: Callable[[str], bool]) -> None:
        self._reference = reference
        self._is_lost = is_lost  # whether a blob is missing, because some inputs do not fit
        self._apart = Apart(reference)
        self._absmax: dict[str, float] = {}  # of blobs beyond the range of fp16
        self._observed: set[str] = set()
        # by comparison, such values, until their last reader has run
        self._handed_on: dict[str, Made] = {}
        # by comparison and layer, the outputs that hand on inf; None if the layer is wrong with fp16's
        # values
        self._effects: dict[tuple[str, int], HandedOn | None] = {}
        # the outputs of the current layer when it is given these values
        self._turn: dict[object, Made | None] = {}
        self._at_hand = -1
        # by comparison, and whether all that was run counts
        self._harm: dict[tuple[str, bool], Reach[PassedOn]] = {}
        self._held: dict[str, Result] = {}  # by case, its result if the values do no harm

    def observe(self, values: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        self._observed.update(values)
        for name, blob in values.items():
            if blob.overflows("fp16"):
                self._absmax[name] = blob.absmax

    def fits_up_to(self, blob: str) -> bool:
        """Whether fp16 holds all values on the way to `blob`, as far as is known."""
        layers = self._reference.graph.layers
        ancestors = self._reference.graph.ancestors([blob])
        on_the_way = {name for number in ancestors for name in layers[number].outputs}
        return on_the_way <= self._observed and self._absmax.keys().isdisjoint(on_the_way)

    def is_read_in_16_bits(self, layer: Layer, candidate: Net) -> bool:
        """Whether a layer of `candidate` is fed with a rounded output of `layer`."""
        readers = self._reference.graph.readers(layer)
        return any(candidate.execution(reader).feed is not None for reader in readers)

    def of_outputs(self, layer: Layer, candidate: Net | None) -> Unrepresentable | None:
        """What fp16 cannot hold of this layer's outputs, if they are stored or read in fp16."""
        beyond = (blob for blob in layer.outputs if blob in self._absmax)
        found = (self._where(layer, blob, self._absmax[blob], candidate) for blob in beyond)
        return next(filter(None, found), None)

    def near(self, layer: Layer, limit: float) -> Unrepresentable | None:
        """The largest of this layer's outputs, if it reaches `limit` and its mask leaves it in fp16."""
        largest = max(layer.outputs, key=lambda blob: self._reference.blobs[blob].absmax, default=None)
        if largest is None:
            return None
        absmax = self._reference.blobs[largest].absmax
        return None if absmax < limit else self._where(layer, largest, absmax, None)

    def _where(
        self, layer: Layer, blob: str, absmax: float, candidate: Net | None
    ) -> Unrepresentable | None:
        """Where the output `blob` of `layer` is stored or read in fp16; None if it is nowhere."""
        readers = tuple(
            f"{reader.name} ({reader.type})"
            for reader in self._reference.graph.consumers[blob]
            if reads_fp16(reader, candidate)
        )
        stored = stores_fp16(layer, candidate)
        return Unrepresentable(blob, absmax, stored, readers) if stored or readers else None

    def reads_beyond(self, layer: Layer) -> bool:
        """Whether an input of `layer` is outside fp16's range."""
        return any(blob in self._absmax for blob in layer.inputs)

    def refuse_inputs(self, comparison: str, layer: Layer, candidate: Net | None) -> None:
        """Skip a layer that is wrong with its inputs as fp16 stores them: their source fails."""
        if self.reads_beyond(layer) and self._effect(comparison, layer, candidate) is None:
            raise self._skip(comparison, layer, candidate)

    def _skip(self, comparison: str, layer: Layer, candidate: Net | None) -> Skip:
        beyond = [blob for blob in layer.inputs if self._is_beyond(comparison, blob)]
        guilty = self._apart.guilty(comparison, layer)
        blob = next((blob for blob in beyond if blob in guilty), beyond[0])
        origin = self._origin(blob, candidate)
        return Skip(
            f"input not representable: > {FP16_MAX:.0f}, made by {origin.name} ({origin.type}), "
            f"{self._reference.told_by(comparison, origin)}",
            Evidence(origin=origin.name),
        )

    def _origin(self, blob: str, candidate: Net | None) -> Layer:
        """The first layer upstream whose own inputs fit fp16, or which takes them in fp32."""
        while True:
            layer = self._reference.graph.producer[blob]
            beyond = [source for source in layer.inputs if source in self._absmax]
            if not beyond or not reads_fp16(layer, candidate):
                return layer
            blob = beyond[0]

    # -- whether it matters ----------------------------------------------------------------------

    def look(self, comparison: str, layer: Layer, candidate: Net | None) -> None:
        """Find out, while its inputs are still held, whether `layer` is right with them in fp16."""
        if any(self._is_beyond(comparison, blob) for blob in layer.inputs):
            self._effect(comparison, layer, candidate)
        self._apart.look(comparison, layer)
        handed_on = self._handed_on.get(comparison, {})
        for blob in handed_on.keys() & set(layer.inputs):
            if self._reference.is_read_up_to(layer, blob):
                del handed_on[blob]

    def _is_beyond(self, comparison: str, blob: str) -> bool:
        return blob in self._absmax or blob in self._handed_on.get(comparison, {})

    def _effect(self, comparison: str, layer: Layer, candidate: Net | None) -> HandedOn | None:
        """The inf that `layer` hands on, run in fp32 on inputs as fp16 stores them; None if wrong.

        Where the layer stores its outputs in fp16, they are compared as fp16 stores them: -1e9 + x is
        right as -inf, because both are -inf in fp16, while rsqrt(inf) is 0 and wrong. A leaky ReLU
        turns -4e5 into -inf in place of -4e4: such outputs are returned, because only their readers
        show whether that is wrong.
        """
        handed_on = self._handed_on.setdefault(comparison, {})
        read = handed_on.keys() & set(layer.inputs)
        if copies(layer) and not read:
            return frozenset()
        key = comparison, layer.number
        if key not in self._effects:
            effects = self._at_turn(
                layer, comparison, candidate, {b: handed_on[b] for b in sorted(read)}
            )
            self._effects[key] = None if effects is None else frozenset(effects)
            handed_on.update(effects or {})
        if self._reference.has_all_of(layer):
            values = self._as_fp16_holds(layer, handed_on, self._in_fp16(layer, candidate))
            beyond = {b: v for b, v in values.items() if self._is_beyond(comparison, b)}
            self._apart.meet(comparison, layer, beyond)
        return self._effects[key]

    def _in_fp16(self, layer: Layer, candidate: Net | None) -> frozenset[str]:
        graph = self._reference.graph
        return frozenset(b for b in layer.inputs if was_in_fp16(graph, b, layer, candidate))

    def _as_fp16_holds(self, layer: Layer, handed_on: Made, in_fp16: Container[str]) -> Made:
        values = {blob: handed_on.get(blob, self._reference.blobs[blob]) for blob in layer.inputs}
        return {
            blob: value.stored() if value.floating and blob in in_fp16 else value
            for blob, value in values.items()
        }

    def _at_turn(
        self, layer: Layer, comparison: str, candidate: Net | None, handed_on: Made
    ) -> Made | None:
        """What `layer` hands on, or None: computed once for all comparisons in which it is the same."""
        if self._at_hand != layer.number:
            self._turn.clear()
            self._at_hand = layer.number
        tolerance = self._reference.tolerance(comparison, layer)
        kept, in_fp16 = stores_fp16(layer, candidate), self._in_fp16(layer, candidate)
        key = (tolerance, kept, in_fp16, *(id(value) for value in handed_on.values()))
        if key not in self._turn:
            self._turn[key] = self._made(layer, handed_on, in_fp16, tolerance, kept)
        return self._turn[key]

    def _made(
        self,
        layer: Layer,
        handed_on: Made,
        in_fp16: Container[str],
        tolerance: Tolerance,
        kept: bool,
    ) -> Made | None:
        if not self._reference.has_all_of(layer):
            return None
        try:
            outputs = self._reference.run(layer, self._as_fp16_holds(layer, handed_on, in_fp16))
        except StepFailed:
            return None
        values = {}
        for blob, output in outputs.items():
            value, expected = output, self._reference.blobs[blob]
            if not value.floating:
                return None
            if kept:
                value, expected = value.stored(), expected.stored()
            differs = self._reference.differs(blob, value, expected, tolerance)
            if differs == "wrong":
                return None
            if differs != "none":
                values[blob] = output
        return values

    def _does_harm(
        self, comparison: str, blob: str, candidate: Net | None, surely: bool = False
    ) -> bool:
        """Whether any reader of `blob`, direct or further on, is wrong with it as fp16 stores it.

        `surely`: a reader that could not run because its inputs do not fit does not count.
        """
        key = comparison, surely
        if key not in self._harm:
            self._harm[key] = Reach(partial(self._behind, comparison, candidate, surely))
        return self._harm[key].finds((blob, False))

    def _behind(
        self, comparison: str, candidate: Net | None, surely: bool, passed_on: PassedOn
    ) -> list[PassedOn] | None:
        """What the readers of a blob pass on; None if it is an output or one of them is wrong."""
        blob, was_stored = passed_on
        if not self._reference.is_only_read(blob):
            return None
        stored = was_stored or stores_fp16(self._reference.graph.producer[blob], candidate)
        behind: list[PassedOn] = []
        for reader in self._reference.graph.consumers[blob]:
            if not (stored or reads_fp16(reader, candidate)):
                continue
            copying = copies(reader)
            seen = self._effects.get((comparison, reader.number))
            if copying and (comparison, reader.number) not in self._effects:
                seen = None if self._was_handed_on(comparison, blob) else frozenset()
            if not copying and self._apart.clears(comparison, reader, blob, seen is not None):
                continue
            if seen is not None:
                behind += [
                    (output, copying or output in seen)
                    for output in reader.outputs
                    if output in self._absmax or output in seen
                ]
            elif not (surely and any(map(self._is_lost, reader.outputs))):
                return None
        return behind

    def _was_handed_on(self, comparison: str, blob: str) -> bool:
        maker = self._reference.graph.producer[blob]
        return blob in (self._effects.get((comparison, maker.number)) or ())

    def hold(self, case: CaseSpec, otherwise: Result) -> None:
        """Keep the result that `case` has if its values outside fp16 do no harm; `settled` decides."""
        self._held[case.id] = otherwise

    def waits(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether the result of `case` depends on how readers further on take its values."""
        return case.id in self._held or (case.half == "fp16" and self.reads_beyond(layer))

    def settled(self, case: CaseSpec, layer: Layer, result: Result, candidate: Net | None) -> Result:
        """`result`, now that all readers have run."""
        if case.id in self._held:
            beyond = [blob for blob in layer.outputs if blob in self._absmax]
            if not any(self._does_harm(case.comparison, blob, candidate) for blob in beyond):
                result = self._held[case.id]
            elif not any(self._does_harm(case.comparison, b, candidate, surely=True) for b in beyond):
                why = "whether it does harm in fp16 is not known: the inputs of a reader do not fit it"
                return Result(case.id, "skipped", reason=why)
        harmful = [
            blob
            for blob in layer.inputs
            if blob in self._absmax and self._does_harm(case.comparison, blob, candidate)
        ]
        if harmful and result.outcome != "skipped" and reads_fp16(layer, candidate):
            skip = self._skip(case.comparison, layer, candidate)
            return Result(case.id, "skipped", reason=str(skip), evidence=skip.evidence)
        return result
