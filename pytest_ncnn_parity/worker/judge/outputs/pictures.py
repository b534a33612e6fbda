"""Accepts outputs in 16 bits that differ by less than a grey step more or less in the picture does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare import grey_steps
from pytest_ncnn_parity.compare.detections import Thresholds
from pytest_ncnn_parity.compare.list_moves import list_moves
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import is_default
from pytest_ncnn_parity.engine.inputs import ConstantInput, ImageInput, Input, RangeInput, Recording
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.detectors import thresholds
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.values.blob import Blob, Made

LEVELS = 255  # a pixel has 8 bits
CHANNELS = (1, 3)  # of a picture in gray and in colour


class GreySteps:
    """The outputs of one sample whose pictures have moved, computed once an output needs them.

    `outputs`: the blobs that are judged.
    """

    def __init__(self, sample: SampleRun, outputs: list[str], natures: Natures) -> None:
        self._sample = sample
        self._outputs = outputs
        self._natures = natures
        self._moved: list[Made] | None = None

    def forgiving(self, case: CaseSpec, output: Blob, reference: Array, metrics: Metrics) -> Metrics:
        """`metrics` of an output in 16 bits, as agreeing if a grey step does more than its error.

        A custom tolerance is the user's word, and nothing else counts then.
        """
        name = str(case.output)
        kept = thresholds(self._sample.graph.producer[name])
        if metrics.agrees or not is_default(case.tolerance):
            return metrics
        if kept is not None:
            why = self._of_list(name, output.array, reference, kept)
            return metrics.forgiven_by(why) if why else metrics
        alone = len(metrics.failed) == 1 and metrics.mismatched > 0
        if not alone or metrics.integers or not output.floating:
            return metrics
        moved = [outputs[name].array for outputs in self._of_moved_pictures()]
        shapes = {output.shape, *(one.shape for one in moved)}
        if not moved or shapes != {reference.shape}:
            return metrics
        scale = self._natures.scale(name, reference, case.tolerance, whole=True)
        why = grey_steps.explain(output.array, reference, moved, case.tolerance, scale)
        return metrics.forgiven_by(why) if why else metrics

    def untold(self, case: CaseSpec) -> tuple[str, ...]:
        """The inputs of an output in 16 bits that may be pictures, where none is known to be one."""
        graph, inputs = self._sample.graph, self._sample.job.inputs
        above = graph.ancestors([str(case.output)])
        given = {
            blob: (one, self._sample.inputs[blob])
            for blob, one in inputs.items()
            if graph.producer[blob].number in above
        }
        excusable = case.half is not None and is_default(case.tolerance)
        if not excusable or any(_moving(*one) for one in given.values()):
            return ()
        return tuple(blob for blob, one in given.items() if _may_be_picture(*one))

    def _of_list(self, name: str, candidate: Array, reference: Array, kept: Thresholds) -> str:
        moved = [outputs[name].array for outputs in self._of_moved_pictures()]
        moves = list_moves(reference, moved, kept)
        return grey_steps.explain_list(candidate, reference, moves) if moved else ""

    def _of_moved_pictures(self) -> list[Made]:
        """The outputs of the moved pictures; none if no input is a picture, or if a run fails."""
        if self._moved is None:
            pictures = {
                blob: move
                for blob, given in self._sample.job.inputs.items()
                if (move := _moving(given, self._sample.inputs[blob])) is not None
            }
            try:
                draws = range(grey_steps.DRAWS if pictures else 0)
                self._moved = [self._run(pictures, draw) for draw in draws]
            except StepFailed:
                self._moved = []
        return self._moved

    def _run(self, pictures: dict[str, Callable[[int], Array]], draw: int) -> Made:
        moved = {blob: Blob.of(move(draw)) for blob, move in pictures.items()}
        return self._sample.trajectory.run({**self._sample.inputs, **moved}, self._outputs, "changed")


def _moving(given: Input, value: Blob) -> Callable[[int], Array] | None:
    """Return what moves the pixels of a picture by a grey step; None if the input is no picture.

    A `smooth` input stands for one: its range has as many steps as a pixel.
    """
    if not _is_map(value):
        return None
    if isinstance(given, ImageInput):
        mean, norm = _of_channels(given.mean, 0.0), _of_channels(given.norm, 1.0)
        ends = ((0.0 - mean) * norm, (LEVELS - mean) * norm)
        low, high, step = np.minimum(*ends), np.maximum(*ends), np.abs(norm)
    elif isinstance(given, RangeInput) and given.random == "smooth":
        low, high = np.asarray(given.low), np.asarray(given.high)
        step = (high - low) / LEVELS
    else:
        return None
    return lambda draw: grey_steps.stepped(value.array, step, low, high, draw)


def _is_map(value: Blob) -> bool:
    return len(value.shape) == 3 and value.floating


def _may_be_picture(given: Input, value: Blob) -> bool:
    """Whether an array is as a picture is, although nothing says how large a step of its pixels is."""
    return isinstance(given, Recording | ConstantInput) and _is_map(value) and value.shape[0] in CHANNELS


def _of_channels(given: Sequence[float] | None, usual: float) -> Array:
    """A number for each channel, or one for all: (c, 1, 1)."""
    return np.reshape((usual,) if given is None else given, (-1, 1, 1)).astype(np.float64)
