"""The rules of shapes against ncnn itself: where none fires, ncnn computes what numpy does."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import fresh_python

ORACLES = '''
import itertools
import math
import os
import sys

import ncnn
import numpy as np

from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.network.shapes.rules.table import unfit

SIZES = (1, 2, 3, 8)
RNG = np.random.RandomState(0)


def ncnn_says(text, arrays, weights=(), outputs=1, flagged=True):
    """Whether a rule fires, and if not, what ncnn computes."""
    kind, _, params = text.partition(" ")
    inputs = [f"b{i}" for i in range(len(arrays))]
    made = [f"out{i}" for i in range(outputs)]
    lines = [f"Input {blob} 0 1 {blob}" for blob in inputs]
    lines.append(" ".join([kind, "it", str(len(inputs)), str(outputs), *inputs, *made, params]))
    text = "\\n".join(("7767517", f"{len(lines)} {len(inputs) + outputs}", *lines, ""))
    layer = parse(text, "net.param").layers[-1]
    if unfit(layer, [array.shape for array in arrays]):
        return None
    net = ncnn.Net()
    net.opt.num_threads = 1
    assert net.load_param_mem(text) == 0
    flat = [np.ascontiguousarray(weight, np.float32).reshape(-1) for weight in weights]
    if weights:
        stored = np.concatenate([np.zeros(int(flagged), np.float32), *flat])
        with open("w.bin", "wb") as file:
            file.write(stored.tobytes())
        assert net.load_model("w.bin") == 0
    else:
        assert net.load_model(ncnn.DataReaderFromEmpty()) == 0
    extractor = net.create_extractor()
    for blob, array in zip(inputs, arrays):
        held = np.ascontiguousarray(array, np.float32)
        extractor.input(blob, ncnn.Mat(held).clone())
    answers = []
    for blob in made:
        rc, mat = extractor.extract(blob)
        assert rc == 0, (text, [a.shape for a in arrays], rc)
        answers.append(np.array(mat))
    return answers


def numpy_says(compute):
    try:
        return compute()
    except (ValueError, IndexError):
        return None


def compare(text, arrays, compute, **more):
    said, wanted = ncnn_says(text, arrays, **more), numpy_says(compute)
    where = (text, [array.shape for array in arrays])
    assert (said is None) == (wanted is None), (*where, "fires" if said is None else "is silent")
    if said is not None:
        wanted = wanted if isinstance(wanted, list) else [wanted]
        for got, array in zip(said, wanted, strict=True):
            assert got.shape == array.shape, (*where, got.shape, array.shape)
            assert np.allclose(got, array, 1e-3, 1e-4), where
    return said is None


def values(*shape):
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def shapes(dims, sizes=SIZES):
    return list(itertools.product(sizes, repeat=dims))


fired = silent = 0


def count(fires):
    global fired, silent
    fired, silent = fired + fires, silent + (not fires)
'''


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are written to the working directory, which must not be the project's."""
    monkeypatch.chdir(tmp_path)


def agrees(cases: str, at_least: int = 20) -> None:
    """Run `cases`, which `count` what fired and what did not: both must be there."""
    done = fresh_python(f"{ORACLES}\n{cases}\nprint(fired, silent, flush=True)\nos._exit(0)\n")
    assert done.returncode == 0, done.stderr[-3000:]
    fired, silent = map(int, done.stdout.split()[-2:])
    assert min(fired, silent) >= at_least


def test_binary_op_broadcasts_as_numpy_does_in_equal_dimensions() -> None:
    agrees(
        """
for dims in (1, 2, 3):
    for a, b in itertools.product(shapes(dims, (1, 2, 8)), repeat=2):
        x, y = values(*a), values(*b)
        count(compare("BinaryOp 0=0", [x, y], lambda: x + y))
"""
    )


def test_binary_op_of_other_dimensions() -> None:
    """New axes go to the inside; a vector goes along the outermost axis if it can, else along w."""
    agrees(
        """
def inside(x, other):
    if x.ndim == 1 and x.shape[0] != other.shape[0]:
        return x
    return x.reshape(x.shape + (1,) * (other.ndim - x.ndim))

for few, many in ((1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)):
    for a, b in itertools.product(shapes(few, (1, 2, 8)), shapes(many, (1, 2, 8))):
        x, y = values(*a), values(*b)
        if x.size * y.size < 4000:
            count(compare("BinaryOp 0=1", [x, y], lambda: inside(x, y) - y))
            count(compare("BinaryOp 0=1", [y, x], lambda: y - inside(x, y)))
"""
    )


def test_concat_joins_what_numpy_joins() -> None:
    agrees(
        """
for dims in (1, 2, 3):
    for axis in range(-dims, dims):
        for a, b in itertools.product(shapes(dims, (1, 3, 8)), repeat=2):
            x, y = values(*a), values(*b)
            count(compare(f"Concat 0={axis}", [x, y], lambda: np.concatenate([x, y], axis)))

def beside(x, y, axis):
    '''What lacks an axis is a row or a channel, if ncnn does not pack it along another axis.'''
    if y.shape[0] % 4 == 0:
        raise ValueError
    return np.concatenate([x, y.reshape((1,) * (x.ndim - y.ndim) + y.shape)], axis)

for many, few in ((2, 1), (3, 1), (3, 2)):
    for axis in range(many):
        for a, b in itertools.product(shapes(many, (1, 3, 8)), shapes(few, (1, 3, 8))):
            x, y = values(*a), values(*b)
            count(compare(f"Concat 0={axis}", [x, y], lambda: beside(x, y, axis)))
"""
    )


def test_eltwise_takes_one_shape() -> None:
    agrees(
        """
def add(x, y):
    if x.shape != y.shape:
        raise ValueError
    return x + y

for dims in (1, 3):
    for a, b in itertools.product(shapes(dims, (1, 3, 8)), repeat=2):
        if math.prod(a) != math.prod(b) or a == b or a[0] != b[0]:
            x, y = values(*a), values(*b)
            count(compare("Eltwise 0=1", [x, y], lambda: add(x, y)))
"""
    )


def test_reshape_keeps_its_elements() -> None:
    agrees(
        """
for shape in ((12,), (2, 6), (4, 3, 5), (2, 2, 3, 4)):
    x = values(*shape)
    for wanted in itertools.product((-1, 2, 3, 4, 6), repeat=3):
        if wanted.count(-1) < 2:
            c, h, w = wanted
            count(compare(f"Reshape 0={w} 1={h} 2={c}", [x], lambda: x.reshape(wanted)))
            count(compare(f"Reshape 0={w} 1={h}", [x], lambda: x.reshape(h, w)))
            count(compare(f"Reshape 0={w}", [x], lambda: x.reshape(w)))
"""
    )


def test_slice_and_crop_stay_inside() -> None:
    agrees(
        """
def parts(x, sizes, axis):
    ends = np.cumsum(sizes)
    over = x.shape[axis] - ends[-1]
    if over < 0 or (over and x.ndim == 3 and axis in (-1, 2)):  # ncnn reads on through the rows
        raise ValueError
    return [np.take(x, range(end - size, end), axis) for size, end in zip(sizes, ends)]

def crop(x, start, end, axis):
    cut = np.take(x, range(x.shape[axis])[start:end], axis)
    if cut.size == 0:
        raise ValueError
    return cut

for shape in ((7,), (5, 7), (8, 5, 7)):
    x = values(*shape)
    for axis in range(-len(shape), len(shape)):
        for a, b in itertools.product((1, 3, 4, 6), repeat=2):
            wanted = lambda: parts(x, (a, b), axis)
            count(compare(f"Slice -23300=2,{a},{b} 1={axis}", [x], wanted, outputs=2))
        for start, end in itertools.product((-5, -2, 0, 3, 4), (-4, -1, 3, 5, 99)):
            text = f"Crop -23309=1,{start} -23310=1,{end} -23311=1,{axis}"
            count(compare(text, [x], lambda: crop(x, start, end, axis)))
"""
    )


def test_products_sum_over_what_is_as_long() -> None:
    agrees(
        """
for a, b in itertools.product((1, 2, 3), repeat=2):
    for x, y in itertools.product(shapes(a, (1, 2, 8)), shapes(b, (1, 2, 8))):
        x, y = values(*x), values(*y)
        dot = (lambda: np.matmul(x, y).reshape(1)) if a == b == 1 else lambda: np.matmul(x, y)
        count(compare("MatMul", [x, y], dot))
        if a == b == 2:
            count(compare("Gemm", [x, y], dot))
            count(compare("Gemm 2=1", [x, y], lambda: x.T @ y))
            count(compare("Gemm 3=1", [x, y], lambda: x @ y.T))
            count(compare("MatMul 0=1", [x, y], lambda: x @ y.T))
weight = values(6, 24)
for shape in ((24,), (23,), (2, 12), (5, 24), (24, 5), (2, 3, 4), (3, 2, 5)):
    x = values(*shape)
    rows = shape[-1] == 24 and len(shape) == 2
    product = lambda: x @ weight.T if rows else weight @ x.reshape(-1)
    count(compare("InnerProduct 0=6 2=144", [x], product, weights=[weight]))
""",
        at_least=4,
    )


def test_windows_fit_into_what_they_slide_over() -> None:
    agrees(
        """
def slide(x, kernel, dilation, stride, pads, reduce):
    top, bottom, left, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    extent = dilation * (kernel - 1) + 1
    if x.shape[1] < extent or x.shape[2] < extent:
        raise ValueError
    rows = range(0, x.shape[1] - extent + 1, stride)
    columns = range(0, x.shape[2] - extent + 1, stride)
    return np.stack(
        [
            np.stack(
                [reduce(x[:, i : i + extent : dilation, j : j + extent : dilation]) for j in columns],
                -1,
            )
            for i in rows
        ],
        1,
    )

for shape in itertools.product((3, 4, 8), (1, 2, 5), (1, 3, 6)):
    x = values(*shape)
    for kernel, dilation, stride, pad in itertools.product((1, 3), (1, 2), (1, 2), (0, 1, 2)):
        if kernel == 1 and pad > 1:
            continue
        weight = RNG.normal(size=(8, 4, kernel, kernel)).astype(np.float32)
        def convolve(patch):
            if patch.shape[0] != 4:
                raise ValueError
            return np.tensordot(weight, patch, 3)
        text = f"Convolution 0=8 1={kernel} 2={dilation} 3={stride} 4={pad} 15={max(0, pad - 1)}"
        pads = (pad, pad, pad, max(0, pad - 1))
        wanted = lambda: slide(x, kernel, dilation, stride, pads, convolve)
        count(compare(f"{text} 6={weight.size}", [x], wanted, weights=[weight]))
        each = weight[:, 0]
        def convolve_each(patch):
            if patch.shape[0] != 8:
                raise ValueError
            return (each * patch).sum((1, 2))
        text = text.replace("Convolution", "ConvolutionDepthWise")
        wanted = lambda: slide(x, kernel, dilation, stride, pads, convolve_each)
        count(compare(f"{text} 6={each.size} 7=8", [x], wanted, weights=[each]))
        if dilation == 1 and kernel > pad:
            text = f"Pooling 0=1 1={kernel} 2={stride} 3={pad} 5=1 6=1"
            wanted = lambda: slide(x, kernel, 1, stride, (pad,) * 4, lambda p: p.mean((1, 2)))
            count(compare(text, [x], wanted))
"""
    )


def test_an_axis_of_one_before_those_of_a_convolution_along_w() -> None:
    agrees(
        """
def convolved(x, weight):
    if x.shape[0] != 1 or x.shape[1] != weight.shape[1] or x.shape[2] < weight.shape[2]:
        raise ValueError
    columns = range(x.shape[2] - weight.shape[2] + 1)
    return np.stack([np.tensordot(weight, x[0, :, j : j + weight.shape[2]], 2) for j in columns], 1)

for shape in itertools.product((1, 2, 4), (3, 4, 8, 16), (1, 2, 5, 9)):
    x = values(*shape)
    for channels, kernel in itertools.product((4, 8, 16), (1, 2, 3)):
        weight = RNG.normal(size=(8, channels, kernel)).astype(np.float32)
        text = f"Convolution1D 0=8 1={kernel} 6={weight.size}"
        count(compare(text, [x], lambda: convolved(x, weight), weights=[weight]))
"""
    )


def test_poolings_with_a_tail() -> None:
    """ncnn adds what the last window lacks, and a step too many where steps are long or nothing fits.

    Then no window may lie behind the end.
    """
    agrees(
        """
def tailed(x, kernel, stride):
    tail = lambda size: int(math.fmod(size - kernel, stride))
    more = [stride - tail(size) if tail(size) else 0 for size in x.shape[1:]]
    for size, extra in zip(x.shape[1:], more):
        if (size + extra - kernel) // stride * stride >= size:
            raise ValueError
    x = np.pad(x, ((0, 0), (0, more[0]), (0, more[1])), constant_values=-np.finfo(np.float32).max)
    if min(x.shape[1:]) < kernel:
        raise ValueError
    rows, columns = (range(0, size - kernel + 1, stride) for size in x.shape[1:])
    return np.array(
        [[[c[i : i + kernel, j : j + kernel].max() for j in columns] for i in rows] for c in x]
    )

for shape in itertools.product((3, 8), range(1, 8), range(1, 8)):
    x = values(*shape)
    for kernel, stride in ((2, 2), (3, 2), (3, 3), (2, 3), (5, 1)):
        count(compare(f"Pooling 0=0 1={kernel} 2={stride}", [x], lambda: tailed(x, kernel, stride)))
"""
    )


def test_mirrored_pads_are_narrower_than_their_input() -> None:
    agrees(
        """
def mirror(x, pads):
    if any(max(pad) >= size for pad, size in zip(pads, x.shape)):
        raise ValueError
    return np.pad(x, pads, "reflect")

for shape in itertools.product((3, 8), range(1, 6), range(1, 6)):
    x = values(*shape)
    for v, h in itertools.product(range(5), repeat=2):
        pads = ((0, 0), (v, v), (h, max(0, h - 1)))
        text = f"Padding 0={v} 1={v} 2={h} 3={max(0, h - 1)} 4=2"
        count(compare(text, [x], lambda: mirror(x, pads)))
"""
    )


def test_normalized_across_channels() -> None:
    """ncnn's CPU takes a vector and a matrix for one channel."""
    agrees(
        """
def normalized(x, spatial, across):
    if x.ndim < 3 and across and not spatial:
        raise ValueError
    axes = (*(range(1, x.ndim) if spatial else ()), *([0] if across else ()))
    axes = axes if x.ndim > 2 else None
    return x / np.sqrt((x * x).sum(axes, keepdims=True))

for shape in (*shapes(1), *shapes(2, (1, 2, 7, 8)), *shapes(3, (1, 2, 5, 8))):
    x = RNG.normal(size=shape).astype(np.float32)
    for spatial, across in ((0, 1), (1, 1), (1, 0)):
        text = f"Normalize 0={spatial} 4={across} 1=1 2=1e-12 3=1 9=1"
        right = lambda: normalized(x, spatial, across)
        count(compare(text, [x], right, weights=[np.ones(1)], flagged=False))
"""
    )
