"""Decodes the answers of declared workers, and rejects any that is not of the expected form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.worker.networks.native import NativeLayer, Readback

Message = dict[str, Any]
T = TypeVar("T")

MOST_BYTES = 4 << 30  # the most data of one answer
MOST_DIMS = 4
BYTES = {"f": 4, "b": 1}
TYPES: dict[str, npt.DTypeLike] = {"f": np.float32, "b": np.int8}
MOST_TEXT = 1000
DEVICE_NUMBERS = ("vendor", "driver", "api", "type")


class Malformed(Exception):
    """Raised if an answer is not of the expected form; the message says why."""


class Greeting(Frozen):
    """What a declared worker says about its machine and its ncnn."""

    ncnn: str
    python: str
    machine: str
    system: str
    cores: int
    features: tuple[str, ...]
    options: frozenset[str]

    @property
    def shown(self) -> dict[str, str]:
        """The facts for reports, by name."""
        versions = {"ncnn": self.ncnn, "python": self.python}
        return {
            **versions,
            "machine": self.machine,
            "system": self.system,
            "features": " ".join(self.features)[:MOST_TEXT],
        }


class Device(Frozen):
    """A Vulkan device; its numbers are packed as in Vulkan."""

    name: str
    vendor: int
    driver: int
    api: int
    type: int


class Run(Frozen):
    """The result of a run: for each output ncnn's return code and the value, or None.

    If ncnn refused an input, there are no outputs; `refused_input` is its index, `code` the return code.
    """

    outputs: tuple[tuple[int, Array | None], ...]
    milliseconds: float
    refused_input: int | None = None
    code: int = 0


def greeting(message: Message) -> Greeting:
    names = ("ncnn", "python", "machine", "system")
    texts = {name: _text(message, name) for name in names}
    cores = _number(message.get("cores"), "cores")
    features, options = (_texts(message, name) for name in ("features", "options"))
    if not all(map(str.isprintable, features)):
        raise Malformed(f"features: {_shown(features)} do not print")
    return Greeting(**texts, cores=max(1, cores), features=tuple(features), options=frozenset(options))


def devices(message: Message) -> tuple[Device, ...]:
    valid = []
    for one in _list(message.get("devices"), "devices"):
        match one:
            case [str(name), *numbers] if len(numbers) == len(DEVICE_NUMBERS) and name.isprintable():
                valid.append(Device(name[:MOST_TEXT], *map(_number, numbers, DEVICE_NUMBERS)))
            case _:
                raise Malformed(f"{_shown(one)} is not a device")
    return tuple(valid)


def unknown(message: Message) -> list[str]:
    """Return the operators that the worker's ncnn does not have. Raises Malformed."""
    return _texts(message, "unknown") if "unknown" in message else []


def readback(
    message: Message, layers: int, names: Iterable[str] = (), asked: Iterable[str] = ()
) -> Readback:
    """Return what the worker has loaded.

    Raises Malformed unless there are `layers` layers, blobs of all `names`, and all options in `asked`.
    """
    blobs = tuple(_texts(message, "blobs"))
    lost = set(names).difference(blobs)
    if lost:
        raise Malformed(f"it loaded no blob {sorted(lost)[0]!r}")
    read = []
    for one in _list(message.get("layers"), "layers"):
        match one:
            case [str(kind), list(tops), bool(vulkan), bool(fp16), bool(bf16)]:
                numbers = tuple(_number(top, "a blob") for top in tops)
                if not all(0 <= number < len(blobs) for number in numbers):
                    raise Malformed(f"{_shown(one)} has a blob that is not there")
                read.append(NativeLayer(kind, numbers, vulkan, fp16, bf16))
            case _:
                raise Malformed(f"{_shown(one)} is not a layer")
    if len(read) != layers:
        raise Malformed(f"it loaded {len(read)} layers of {layers}")
    options = message.get("options")
    if not isinstance(options, dict) or not all(isinstance(v, bool | int) for v in options.values()):
        raise Malformed(f"{_shown(options)} are not options")
    lost = set(asked) - options.keys()
    if lost:
        raise Malformed(f"it says nothing of the option {sorted(lost)[0]}")
    return Readback(blobs, tuple(read), options)


def size(message: Message, count: int) -> int:
    """Return how many bytes of data come with the answer to a run of `count` outputs.

    Raises ValueError if the answer is not of that form.
    """
    if "refused" in message or "input" in message:
        return 0
    try:
        shapes = [shape for shape in _shapes(message) if shape[1] is not None]
    except Malformed as malformed:
        raise ValueError(str(malformed)) from None
    if len(_list(message.get("outputs"), "outputs")) > count:
        raise ValueError("more outputs than were asked for")
    total = sum(math.prod(shape or ()) * BYTES[code] for _, shape, code in shapes)
    if total > MOST_BYTES:
        raise ValueError(f"outputs of {total} bytes")
    return total


def run(message: Message, data: bytearray) -> Run:
    """Return the result of a run from an answer that `size` has accepted. Raises Malformed."""
    if "input" in message:
        code, index = (_number(message.get(name), name) for name in ("input", "index"))
        return Run((), 0.0, index, code)
    milliseconds = message.get("ms")
    if not isinstance(milliseconds, float) or not 0.0 <= milliseconds < math.inf:
        raise Malformed(f"{_shown(milliseconds)} is not a number of milliseconds")
    outputs: list[tuple[int, Array | None]] = []
    start = 0
    for rc, shape, kind in _shapes(message):
        if shape is None:
            outputs.append((rc, None))
            continue
        count = math.prod(shape)
        array: Array = np.frombuffer(data, TYPES[kind], count, start).reshape(shape)
        start += count * BYTES[kind]
        outputs.append((rc, array))
    return Run(tuple(outputs), milliseconds)


def _shapes(message: Message) -> list[tuple[int, tuple[int, ...] | None, str]]:
    shapes: list[tuple[int, tuple[int, ...] | None, str]] = []
    for one in _list(message.get("outputs"), "outputs"):
        match one:
            case [int(rc), None, str()]:
                shapes.append((rc, None, "f"))
            case [int(rc), list(sizes), "f" | "b" as code] if 1 <= len(sizes) <= MOST_DIMS:
                shape = tuple(_number(one, "a shape") for one in sizes)
                if min(shape) < 1:
                    raise Malformed(f"{_shown(one)} is not a shape")
                shapes.append((rc, shape, code))
            case _:
                raise Malformed(f"{_shown(one)} is not an output")
    return shapes


def _number(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise Malformed(f"{what}: {_shown(value)} is not a number")
    return value


def _text(message: Message, name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value.isprintable():
        raise Malformed(f"{name}: {_shown(value)} is not a text")
    return value[:MOST_TEXT]


def _texts(message: Message, name: str) -> list[str]:
    values = _list(message.get(name), name)
    if not all(isinstance(value, str) for value in values):
        raise Malformed(f"{name}: {_shown(values)} are not texts")
    return values


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"{what}: {_shown(value)} is not a list")
    return value


def _shown(value: object) -> str:
    return repr(value)[:100]
