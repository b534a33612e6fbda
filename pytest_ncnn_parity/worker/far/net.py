"""A network in the ncnn of a declared worker, and the values that the worker keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from pytest_ncnn_parity.base import digests
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable, failed
from pytest_ncnn_parity.worker.far import answers
from pytest_ncnn_parity.worker.limits import NO_BLOB
from pytest_ncnn_parity.worker.networks.native import Fed, Readback, Wanted
from pytest_ncnn_parity.worker.values.blob import Blob

VALUES_BYTES = 512 << 20  # of values that the worker keeps, as the next step may read them again
WEIGHTS_PART = 8 << 20  # bytes of weights per message; each message has a step's time limit


class ValuesThere:
    """The digests and sizes, in bytes, of the values that the worker has.

    Those that were fed longest ago are forgotten first.
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._sizes

    def clear(self) -> None:
        self._sizes.clear()

    def feed(self, sizes: Mapping[str, int]) -> list[str]:
        """Note the values that are fed now; return the digests of those to be forgotten for them."""
        for digest, size in sizes.items():
            self._sizes[digest] = size
            self._sizes.move_to_end(digest)
        total = sum(self._sizes.values())
        forgotten = []
        for digest in list(self._sizes):
            if total <= VALUES_BYTES or digest in sizes:
                break
            total -= self._sizes.pop(digest)
            forgotten.append(digest)
        return forgotten


class FarWorker(Protocol):
    """The declared worker, as its networks see it."""

    name: str
    worker: Worker
    loaded: set[int]
    values: ValuesThere

    @property
    def version(self) -> str: ...

    def ask(
        self,
        step: Step,
        request: answers.Message,
        parts: Sequence[memoryview] = (),
        size: Callable[[answers.Message], int] = ...,
    ) -> tuple[answers.Message, bytearray]: ...

    def read(self, step: Step, decode: Callable[[], answers.T]) -> answers.T: ...

    def run(
        self, net: FarNet, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]
    ) -> tuple[list[Blob], float]: ...


class FarNet:
    """A network that a declared worker has loaded, and loads again after a restart."""

    read: Readback

    def __init__(
        self,
        machine: FarWorker,
        number: int,
        step: Step,
        model: Model,
        graph: Graph,
        options: Mapping[str, bool | int],
        vulkan: int | None,
    ) -> None:
        self.number = number
        self._machine = machine
        self._step = step
        self._model = model
        self._graph = graph
        self._options = dict(options)
        self._vulkan = vulkan

    def load(self) -> None:
        """Load the network on the worker. Raises StepFailed."""
        machine, step = self._machine, self._step
        path = Path(self._model.bin)
        try:
            sha256 = digests.of_file(path)
            self._send_weights(path, sha256)
        except OSError as error:
            raise failed(step, "refused", f"{path.name}: cannot be read: {error.strerror}") from None
        request: answers.Message = {
            "do": "load",
            "net": self.number,
            "sha256": sha256,
            "types": sorted({layer.type for layer in self._graph.layers}),
            "options": self._options,
            "vulkan": self._vulkan,
        }
        message, _ = machine.ask(step, request, [memoryview(self._graph.text.encode())])
        unknown = machine.read(step, lambda: answers.unknown(message))
        if unknown:
            what = ", ".join(unknown[:10])
            there = f"ncnn {machine.version} at {machine.name}"
            raise failed(step, "refused", f"{there} does not know {what}: update it")
        graph = self._graph
        self.read = machine.read(
            step,
            lambda: answers.readback(message, len(graph.layers), graph.producer, self._options),
        )
        machine.loaded.add(self.number)

    def _send_weights(self, path: Path, sha256: str) -> None:
        """Send the weights unless the worker has them. Raises OSError if they cannot be read."""
        size = path.stat().st_size
        request: answers.Message = {"do": "weights", "sha256": sha256, "size": size, "offset": None}
        message, _ = self._machine.ask(self._step, request)
        if message.get("here") is True:
            return
        with path.open("rb") as file:
            for offset in range(0, max(1, size), WEIGHTS_PART):
                part = memoryview(file.read(WEIGHTS_PART))
                self._machine.ask(self._step, {**request, "offset": offset}, [part])

    def drop(self) -> None:
        if self.number in self._machine.loaded:
            self._machine.loaded.discard(self.number)
            with suppress(StepFailed, Unavailable):
                self._machine.ask(self._step, {"do": "drop", "net": self.number})

    def decides_itself(self, operator: str) -> bool:  # noqa: ARG002 - custom layers do not run there
        return False

    def run(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> list[Blob]:
        values, _ = self._machine.run(self, step, inputs, outputs)
        return values

    def begin(self, inputs: Sequence[Fed]) -> None:
        """Return None: the server runs a network in one go, so values cannot be taken out of a run."""

    def time(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> float:
        if self._machine.worker.emulated:
            raise Unavailable(f"{self._machine.name} is emulated, so that its times mean nothing")
        _, milliseconds = self._machine.run(self, step, inputs, outputs)
        return milliseconds

    def run_there(
        self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]
    ) -> tuple[list[Blob], float]:
        """Run the network, which must be loaded; return the outputs and the milliseconds it took there.

        Raises StepFailed.
        """
        machine = self._machine
        batch = next((one.blob for one in inputs if one.value.batch), None)
        if batch is not None:
            raise failed(step, "refused", f"{batch} is a batch, which a worker is not fed with")
        fed = {one.value.digest.hex(): one.value for one in inputs}
        fresh = {digest: value for digest, value in fed.items() if digest not in machine.values}
        parts = [_bytes(value) for value in fresh.values()]
        request: answers.Message = {
            "do": "run",
            "net": self.number,
            "forget": machine.values.feed({digest: one.array.nbytes for digest, one in fed.items()}),
            "values": [
                (digest, "b" if value.int8 else "f", value.shape, part.nbytes)
                for (digest, value), part in zip(fresh.items(), parts, strict=True)
            ],
            "inputs": [(one.index, one.value.digest.hex()) for one in inputs],
            "outputs": [(one.index, one.maybe_int8) for one in outputs],
        }
        message, data = machine.ask(step, request, parts, lambda one: answers.size(one, len(outputs)))
        run = machine.read(step, lambda: answers.run(message, data))
        if run.refused_input is not None:
            names = [one.blob for one in inputs if one.index == run.refused_input]
            raise failed(step, "refused", f"input {', '.join(names)}: {run.code}")
        values = []
        for number, wanted in enumerate(outputs):
            code, array = run.outputs[number] if number < len(run.outputs) else (0, None)
            empty = code == 0 or (code == NO_BLOB and wanted.empty_is_refused)
            if empty and array is None and wanted.maybe_empty:
                values.append(Blob.of_nothing())
            elif code != 0 or array is None:
                raise failed(step, "refused", f"extract {wanted.blob}: {code}")
            else:
                values.append(Blob.of(array))
        return values, run.milliseconds


def _bytes(value: Blob) -> memoryview:
    return np.ascontiguousarray(value.array).reshape(-1).view(np.uint8).data
