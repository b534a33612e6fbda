"""Says where the error of an output grows when no layer is wrong by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ncnn_parity.engine.evidence import Growth, GrowthStep

OPTION = "--ncnn-parity-accumulated"
DOMINANT = 0.5  # a step that adds this share of the output's error is where to look
SMALL = 0.1  # a step smaller than this share of the largest one is not reported


def lines(growth: Growth | None, error: float) -> Iterator[str]:
    """What the candidate's own run shows; `error` is the output's, as a share of its largest value.

    `growth` is None if that run was not measured; the line then says how to measure it.
    """
    if growth is None:
        yield f"{OPTION} shows where the error grows on its way here"
        return
    most = max(map(_size, growth.largest), default=0.0)
    if growth.largest and most < DOMINANT * error:
        yield f"it adds up: the error grows in {growth.layers} layers, in none by more than {most:.3g}"
    for step in growth.largest:
        if _size(step) >= SMALL * most:
            change = f"{step.before:.3g} to {step.after:.3g}"
            yield f"error grows from {change} at {step.layer} ({step.type})"
    if growth.ended:
        yield f"the candidate's own run could not be followed to its end: {growth.ended}"


def _size(step: GrowthStep) -> float:
    return step.after - step.before
