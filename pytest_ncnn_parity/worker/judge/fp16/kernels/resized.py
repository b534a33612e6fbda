"""Repeats where in its input an Interp looks for each output, in fp16 and in fp32 (interp*.comp)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.noise import LAST_PLACE
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun

NEAREST, BILINEAR, BICUBIC = 1, 2, 3  # values of Interp's resize_type
STEEPNESS = -0.75  # of the bicubic kernel (interp_bicubic_coeffs.comp)
# what an Interp resizes, of a matrix the rows alone; with the ids of a given size and of a factor
AXES = ((-1, 4, 2), (-2, 3, 1))
NEAR = 1e-3  # the share of its largest value by which a resized output may differ from ncnn's
Places = type[np.float16] | type[np.float64]


def interp(layer: Layer, run: LayerRun) -> Computed | None:
    """The position in the input that each output value comes from is fp16."""
    value, shape = run.value, run.output.shape
    steps = _steps(layer, value, run.output)
    if steps is None:
        return None
    last = max(shape[axis] for axis in steps) - 1.0
    made = _resized(layer, value, shape, steps, np.float16)
    constant = Constant("the places of its outputs", last, "arithmetic", last < FP16_OVERFLOW)
    return Computed(constant, made)


def moved_places(layer: Layer, value: Array, expected: Array) -> tuple[Array, ...]:
    """How far an Interp's output moves where all places are larger or smaller by a unit of fp32.

    ncnn's kernels for the CPU compute places in float64, and those for Vulkan in fp32. `value`: its
    input. `expected`: its output. Returns nothing where the steps between places are not known.
    """
    try:
        steps = _steps(layer, value, expected)
    except NotANumber:
        return ()
    if steps is None:
        return ()
    still, *moved = (
        _resized(layer, value, expected.shape, {a: step * by for a, step in steps.items()}, np.float64)
        for by in (1.0, 1.0 + LAST_PLACE[None], 1.0 - LAST_PLACE[None])
    )
    return tuple(one - still for one in moved)


def _steps(layer: Layer, value: Array, expected: Array) -> Mapping[int, float] | None:
    """How far apart in the input two outputs are, by axis; None where that is not known."""
    shape, kind = expected.shape, number(layer, 0)
    if len(layer.inputs) != 1 or value.ndim not in (2, 3) or kind not in _RESIZED:
        return None
    if shape == value.shape:  # handed on unchanged
        return None
    axes = AXES[: value.ndim - 1]
    if any(min(value.shape[axis], shape[axis]) < 2 for axis, _, _ in axes):
        return None
    of_versions = (
        {axis: _step(layer, value.shape[axis], shape[axis], *ids) for axis, *ids in axes},
        {axis: value.shape[axis] / shape[axis] for axis, _, _ in axes},
    )
    own = (
        steps
        for steps in of_versions
        if kind == NEAREST or _is_near(_resized(layer, value, shape, steps, np.float64), expected)
    )
    return next(own, None)


def _step(layer: Layer, size: int, length: int, given: int, scale: int) -> float:
    """How far apart in the input two outputs are (interp_vulkan.cpp).

    A bilinear Interp takes steps of size / length in 20240410, whatever it is given.
    """
    bilinear = number(layer, 0) == BILINEAR
    if number(layer, 0) != NEAREST and number(layer, 6):
        return (size - 1) / (length - 1)
    if number(layer, given) or "9" in layer.params or (bilinear and size == length):
        return size / length
    return 1.0 / decimal(layer, scale, 1.0)


def _resized(
    layer: Layer, value: Array, shape: tuple[int, ...], steps: Mapping[int, float], places: Places
) -> Array:
    """`value` resized by `steps`, by axis, with `places` computed in this type."""
    resized = _RESIZED[number(layer, 0)]
    for axis, step in steps.items():
        value = resized(value, axis, shape[axis], places(step), bool(number(layer, 6)))
    return value


def _is_near(made: Array, expected: Array) -> bool:
    return bool(np.abs(made - expected).max() <= NEAR * np.abs(expected).max())


def _nearest(value: Array, axis: int, length: int, step: np.floating[Any], _: bool) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.floor(np.arange(length).astype(step.dtype) * step)
    return value.take(_within(places, value.shape[axis] - 1), axis)


def _bilinear(value: Array, axis: int, length: int, step: np.floating[Any], aligned: bool) -> Array:
    first, share = _between(length, step, aligned)
    end = value.shape[axis] - 2
    share = np.where(first < 0, 0.0, np.where(first > end, 1.0, share))
    at = _within(first, end)
    return _weighted(value, axis, (at, at + 1), (1 - share, share))


def _bicubic(value: Array, axis: int, length: int, step: np.floating[Any], aligned: bool) -> Array:
    first, share = _between(length, step, aligned)
    last = value.shape[axis] - 1
    places = [_within(np.clip(first, -1, last) + offset, last) for offset in (-1, 0, 1, 2)]
    steepness, one = share.dtype.type(STEEPNESS), share.dtype.type(1.0)
    far, near, across = share + one, share, one - share
    before = ((steepness * far - 5 * steepness) * far + 8 * steepness) * far - 4 * steepness
    inner = [((steepness + 2) * x - (steepness + 3)) * x * x + one for x in (near, across)]
    weights = (before, *inner, one - before - inner[0] - inner[1])
    return _weighted(value, axis, places, weights)


_RESIZED = {NEAREST: _nearest, BILINEAR: _bilinear, BICUBIC: _bicubic}


def _between(length: int, step: np.floating[Any], aligned: bool) -> tuple[Array, Array]:
    """The place in front of each output, and the share of the way from there to the next one."""
    half = step.dtype.type(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.arange(length).astype(step.dtype)
        places = numbers * step if aligned else (numbers + half) * step - half
        first = np.floor(places)
        return first, places - first


def _weighted(value: Array, axis: int, places: Sequence[Array], weights: Sequence[Array]) -> Array:
    """The sum of what `value` has at each of these `places` along `axis`, times its weight."""
    shape = [-1 if a == axis % value.ndim else 1 for a in range(value.ndim)]
    parts = zip(places, weights, strict=True)
    return np.asarray(sum(value.take(at, axis) * w.astype(np.float32).reshape(shape) for at, w in parts))


def _within(places: Array, last: int) -> Array:
    return np.clip(np.nan_to_num(places.astype(np.float64), posinf=last), 0, last).astype(np.int64)
