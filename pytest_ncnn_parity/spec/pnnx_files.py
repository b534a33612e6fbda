"""Reads what pnnx wrote about the inputs of a converted network. The files are parsed, never run.

pnnx (tools/pnnx/src/save_ncnn.cpp) converts NAME.pt to NAME.ncnn.param. It also writes NAME_ncnn.py,
which feeds the network once, and NAME.pnnx.param, the network before its conversion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.frozen import Frozen

MOST_BYTES = 16 << 20
NO_BATCH = 233  # pnnx writes this number for "no axis is the batch"

# `in0 = torch.rand(1, 3, 224, 224, dtype=torch.float)` or `in0 = torch.randint(10, (1, 7), dtype=...)`
_DRAWN = re.compile(r"^ *(\w+) = torch\.rand(?:int\(\d+, )?\(([\d, ]*)", re.MULTILINE | re.ASCII)
# `ncnn.Mat(in0.squeeze(0).numpy())`, `ncnn.Mat(in0.numpy())` or `ncnn.Mat(in0.numpy(), batch_index=0)`
_FED = r"ncnn\.Mat\({name}(?:\.squeeze\((\d+)\))?\.numpy\(\)(?:, batch_index=(\d+))?\)"
# `pnnx.Input pnnx_input_0 0 1 0 #0=(1,3,224,224)f32`
_INPUT = re.compile(r"^pnnx\.Input +\S+ +0 1 (\S+).*? #\1=\(([\d,?]*)\)", re.MULTILINE | re.ASCII)


Sizes = tuple[int | None, ...]


class PnnxShape(Frozen):
    """The shape that `file` gives for an input, without its batch; None means any size.

    `batched`: the same with the batch, if that is of more than one: pnnx may have taken a row for it.
    """

    file: str
    shape: Sizes
    batched: Sizes | None = None

    def of_rows(self) -> PnnxShape:
        """The same with the batch as an axis."""
        return PnnxShape(self.file, self.batched or self.shape)


def input_shapes(param: Path) -> Mapping[str, PnnxShape]:
    """What the files beside `param` state, by the input blobs as pnnx names them: in0, in1, ..."""
    name = param.name.removesuffix(".param").removesuffix(".ncnn")
    script = param.with_name(f"{name}_ncnn.py")
    original = param.with_name(f"{name}.pnnx.param")
    return {**dict(_of_original(original)), **dict(_of_script(script))}


def _of_script(path: Path) -> Iterator[tuple[str, PnnxShape]]:
    """What the script draws for each input, without the axis that it uses for the batch."""
    text = _text(path)
    for name, sizes in _DRAWN.findall(text):
        shape = tuple(int(size) for size in re.findall(r"\d+", sizes))
        fed = re.search(_FED.format(name=re.escape(name)), text)
        if fed is None:
            yield from _usable(path, name, _without_batch(shape))
            continue
        batch = int(next(filter(None, fed.groups()), NO_BATCH))
        batched = shape if batch < len(shape) and shape[batch] > 1 else None
        yield from _usable(path, name, shape[:batch] + shape[batch + 1 :], batched)


def _of_original(path: Path) -> Iterator[tuple[str, PnnxShape]]:
    """The inputs of the original network."""
    for number, (_, sizes) in enumerate(_INPUT.findall(_text(path))):
        shape = tuple(None if size == "?" else int(size) for size in sizes.split(",") if size)
        yield from _usable(path, f"in{number}", _without_batch(shape))


def _without_batch(shape: Sizes) -> Sizes:
    """`shape` without its first axis, if that is a batch of 1 or of any size."""
    return shape[1:] if len(shape) > 1 and shape[0] in (1, None) else shape


def _usable(
    path: Path, blob: str, shape: Sizes, batched: Sizes | None = None
) -> Iterator[tuple[str, PnnxShape]]:
    if 1 <= len(shape) <= 4 and 0 not in shape:
        yield blob, PnnxShape(path.name, shape, batched)


def _text(path: Path) -> str:
    try:
        return read_files.text(path, None, MOST_BYTES, "expected what pnnx wrote")
    except read_files.Unreadable:  # the file does not exist or is not from pnnx, so it gives no hint
        return ""
