"""Checks a network's files before ncnn loads them, and finds the weights of each layer in its .bin."""

from __future__ import annotations

import ctypes
import math
import os
import struct
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import ncnn
import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.errors import guess, listed
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8, gives_int8
from pytest_ncnn_parity.network.operator_kinds import of_another_namespace
from pytest_ncnn_parity.network.shapes.rules.outcomes import OUTCOMES
from pytest_ncnn_parity.network.shapes.rules.table import RULES
from pytest_ncnn_parity.network.weight_tags import BF16, FP16, INT8, SIZES, TABLE_BYTES
from pytest_ncnn_parity.worker.custom_layers import Registry, blamed
from pytest_ncnn_parity.worker.failures import StepFailed

MAX_HEADED = 3  # operators in the first line
MAX_OPERATORS = 20  # the most operators that one message names
WORD = 4  # bytes
NOT_DESTROYED = "YoloDetectionOutput"  # by older ncnn, unless its pipeline was created
NAMED = sorted(OUTCOMES.keys() | RULES.keys())  # operators of ncnn, of which the binding has no list
NOT_FLOATS = (FP16, BF16, INT8)
FP16_EXPONENT = 0x7C00  # all bits of the exponent of an fp16: inf or nan

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Weights(Frozen):
    """What was found in a weights file; sizes and places are in bytes.

    `spans`: start and end of what each layer reads. `size`: that of the file. `largest`: the largest
    absolute value among each layer's fp32 weights, 0 if it has none. `not_finite`: how many of each
    layer's weights in fp32 or fp16 are inf or nan. `int8_scales`: the scales of the
    inputs of layers that compute in int8, by layer number. `given_scales`: those of their outputs, for
    layers that give int8.
    """

    spans: tuple[tuple[int, int], ...]
    size: int
    largest: tuple[float, ...]
    not_finite: tuple[int, ...]
    int8_scales: Mapping[int, float]
    given_scales: Mapping[int, float]

    @property
    def unread(self) -> int:
        """The number of bytes at the end that no layer reads; ncnn ignores them."""
        return self.size - (self.spans[-1][1] if self.spans else 0)


def load_param(net: ncnn.Net, model: Model) -> int:
    """Have `net` read the .param of `model`, and return ncnn's return code."""
    if model.text is not None:
        return int(net.load_param_mem(model.text))
    return int(net.load_param(os.fsencode(model.param)))  # a path need not be UTF-8, which a str must be


class CheckedFiles:
    """Checks the files of each model once in a worker, however often it is loaded afterwards.

    Masks do not affect what is read, so models with the same files count as one.
    """

    def __init__(self, registry: Registry, enter: Callable[[Step], None]) -> None:
        self._registry = registry
        self._enter = enter
        self._known: dict[tuple[str, str], Weights | StepFailed] = {}

    def unread(self, model: Model) -> int:
        """Return how many bytes of the weights file no layer reads; 0 if it was not checked."""
        weights = self._known.get((model.param, model.bin))
        return weights.unread if isinstance(weights, Weights) else 0

    def weights(self, model: Model, graph: Graph) -> Weights:
        """Return the weights of `model`. Raises StepFailed, with the reason, if it cannot be loaded."""
        key = (model.param, model.bin)
        if key not in self._known:
            try:
                self._known[key] = self._look(model, graph)
            except StepFailed as failed:
                self._known[key] = failed
        weights = self._known[key]
        if isinstance(weights, StepFailed):
            raise weights.with_traceback(None)
        return weights

    def _look(self, model: Model, graph: Graph) -> Weights:
        net = self._registry.net(model, graph)
        name = Path(model.param).name
        step = Step("files", f"{model.name or name} with {Path(model.bin).name}")
        self._enter(step)
        try:
            _refuse_unknown(step, model, graph, set(getattr(net, "registered", ())))
            net.opt.use_vulkan_compute = False
            with blamed(model, step):
                rc = load_param(net, model)
                if rc != 0:
                    detail = f"{name}: ncnn {ncnn.__version__} refuses it (load_param: {rc})"
                    raise _fault(step, "param", detail)
                weights = _read(step, model, graph, net)
                _complete(net)
        except BaseException:
            self._registry.abandon(net)
            raise
        self._registry.release(net)
        return weights


def _refuse_unknown(step: Step, model: Model, graph: Graph, registered: Container[str]) -> None:
    """Raise StepFailed that names all operators which ncnn lacks and no setup function registered."""
    types = dict.fromkeys(layer.type for layer in graph.layers if layer.type not in registered)
    # ncnn knows the names of operators, too, that it was built without, as the wheel is without ArgMax
    lacking = {name for name in types if ncnn.create_layer(name) is None}
    users: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        if layer.type in lacking:
            users.setdefault(layer.type, []).append(layer)
    if not users:
        return
    name = Path(model.param).name
    lines = []
    for operator, layers in list(users.items())[:MAX_OPERATORS]:
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        near = guess(operator, [one for one in NAMED if one.casefold() == operator.casefold()])
        lines.append(f"{name}:{layers[0].line}: {operator} (layer {layers[0].name}{more}){near}")
    if len(users) > MAX_OPERATORS:
        lines.append(f"... and {len(users) - MAX_OPERATORS} more")
    update = "update ncnn, or register what is missing with the spec's key 'setup'"
    if all(map(of_another_namespace, users)):
        update = (
            "a name with a dot or '::' is an operator that was not converted, so write that part of the "
            "model otherwise; or a layer of the app's own, to be registered with the spec's key 'setup'"
        )
    elif any(map(of_another_namespace, users)):
        lines.append(
            "a name with a dot or '::' is an operator that was not converted, or a layer of the app"
        )
    what = f"the operator{'s' * (len(users) > 1)} {listed(list(users), MAX_HEADED)}"
    neither = f", nor does {model.setup} register {'it' if len(users) == 1 else 'them'}"
    detail = (
        f"{name}: ncnn {ncnn.__version__} does not have {what}{neither if model.setup else ''}; {update}"
    )
    raise _fault(step, "param", detail, lines)


class Reader(ncnn.DataReader):  # type: ignore[misc]
    """Serves a file to ncnn, and notes the first read that the file is too short for.

    It looks at the weights that are read as fp32 (src/modelbin.cpp): a preceding word may say that they
    are fp16, bf16 or int8 or, in an old format, that a table of 256 numbers and indices into it follow.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.at = file.tell()
        self.short: int | None = None  # the size of the read that failed at `at`
        self.begin()

    def begin(self) -> None:
        """Forget what was read, because another layer reads next."""
        self.largest = 0.0
        self.not_finite = 0
        self._word: int | None = None  # the previous read, if it was of four bytes
        self._indices_follow = False  # of the table that was the previous read

    def read(self, buffer: object, size: int) -> int:
        if self.short is None and size > self.size - self.at:
            self.short = size
        if self.short is not None:
            return 0
        target = (ctypes.c_char * size).from_address(_pointer(buffer, None))
        got = self._file.readinto(target)  # type: ignore[attr-defined]
        self.at += got
        self._look(np.frombuffer(memoryview(target), np.uint8))
        return int(got)

    def take(self, count: int) -> Array:
        """Return the next `count` bytes, int8, which fill whole words; empty if there are fewer."""
        content = self._file.read(count + -count % WORD)
        self.at += len(content)
        return np.frombuffer(content, np.int8)[:count] if len(content) >= count else np.zeros(0)

    def _look(self, bytes_read: npt.NDArray[np.uint8]) -> None:
        word, self._word = self._word, None
        if len(bytes_read) == WORD:
            self._word = int(bytes_read.view("<u4")[0])
            if self._word in SIZES:
                return
        are_indices, self._indices_follow = self._indices_follow, False
        if are_indices:
            return
        self._indices_follow = word not in (None, *SIZES) and len(bytes_read) == TABLE_BYTES
        if word == FP16 and len(bytes_read) % 2 == 0:
            exponents = bytes_read.view("<u2") & FP16_EXPONENT
            self.not_finite += int(np.count_nonzero(exponents == FP16_EXPONENT))
        if word == BF16 and len(bytes_read) % 2 == 0:
            self.see((bytes_read.view("<u2").astype("<u4") << 16).view("<f4"))
        if word not in NOT_FLOATS and len(bytes_read) % WORD == 0:
            self.see(bytes_read.view("<f4"))

    def see(self, weights: npt.NDArray[np.float32]) -> None:
        """Look at `weights`, of which there is at least one."""
        most, least = float(weights.max()), float(weights.min())  # nan if any weight is
        self.largest = max(self.largest, most, -least)
        if not (math.isfinite(most) and math.isfinite(least)):
            self.not_finite += int(np.count_nonzero(~np.isfinite(weights)))


def _read(step: Step, model: Model, graph: Graph, net: ncnn.Net) -> Weights:
    """Have each layer read its weights, one after the other, without creating its pipeline."""
    name = Path(model.bin).name
    try:
        with Path(model.bin).open("rb") as file:
            reader = Reader(file)
            bin_ = ncnn.ModelBinFromDataReader(reader)
            spans, largest, not_finite = [], [], []
            for layer, native in zip(graph.layers, net.layers(), strict=True):
                start = reader.at
                reader.begin()
                rc = native.load_model(bin_)
                if reader.short is not None or rc != 0:
                    where = f"line {layer.line} of {Path(model.param).name}"
                    who = f"layer {layer.name} ({layer.type}, {where})"
                    detail = f"{name}: {_why(reader, who, start, rc)}"
                    raise _fault(step, "bin", detail)
                spans.append((start, reader.at))
                largest.append(reader.largest)
                not_finite.append(reader.not_finite)
            scales, given = _int8_scales(file, graph, spans)
            found = tuple(spans), reader.size, tuple(largest), tuple(not_finite)
            return Weights(*found, scales, given)
    except OSError as error:
        raise _fault(step, "bin", f"{name}: cannot be read: {error.strerror}") from None


def _complete(net: ncnn.Net) -> None:
    """Create the pipelines without which older ncnn crashes when it destroys a layer.

    Until 20260526 a YoloDetectionOutput deletes a Softmax that only its pipeline creates.
    """
    for native in net.layers():
        if native.type == NOT_DESTROYED:
            native.create_pipeline(net.opt)


def _int8_scales(
    file: BinaryIO, graph: Graph, spans: Sequence[tuple[int, int]]
) -> tuple[Mapping[int, float], Mapping[int, float]]:
    """Return the scales of inputs and of outputs, which come last in a layer's weights."""
    scales, given = {}, {}
    for layer, (_, end) in zip(graph.layers, spans, strict=True):
        if computes_in_int8(layer):
            file.seek(end - (8 if gives_int8(layer) else 4))
            (scales[layer.number],) = struct.unpack("<f", file.read(4))
            if gives_int8(layer):
                (given[layer.number],) = struct.unpack("<f", file.read(4))
    return scales, given


def _why(reader: Reader, who: str, start: int, rc: int) -> str:
    if reader.size == 0:
        return f"it is empty, and {who} reads weights from it"
    if reader.short is not None:
        return (
            f"too short: {who} reads {reader.short} bytes at byte {reader.at}, and the file has "
            f"{reader.size}; is it cut off, or of another .param?"
        )
    return f"{who} refuses what it reads from byte {start} on ({rc}); is it of another .param?"


def _fault(step: Step, key: str, detail: str, lines: Sequence[str] = ()) -> StepFailed:
    """Return the failure of the file that the spec names at `model`, `key`, to be raised."""
    return StepFailed(step, Death("files", detail, step, key=("model", key), lines=tuple(lines)))
