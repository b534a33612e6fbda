"""Where the error of an output comes from when no layer is wrong by itself: in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OPTION = "--ncnn-parity-accumulated"
DOMINANT = 0.5  # of the output's error: one step this large is where to look
SMALL = 0.1  # of the largest step: less is not worth a line


def lines(growth: Mapping[str, Any] | None, error: float) -> Iterator[str]:
    """What the candidate's own run shows; `error` is the output's, as a share of its largest value.

    None: nobody looked, and the line says how to.
    """
    if growth is None:
        yield f"where the error grows on its way here: {OPTION} tells"
        return
    largest = growth["largest"]
    if largest:
        most = _size(largest[0])
        if most < DOMINANT * error:
            yield (
                f"it adds up: the error grows in {growth['layers']} layers, in none by more than "
                f"{_share(most)}"
            )
    for step in (step for step in largest if _size(step) >= SMALL * _size(largest[0])):
        yield (
            f"error grows from {_share(step['from'])} to {_share(step['to'])} at {step['layer']} "
            f"({step['type']})"
        )
    if growth["ended"]:
        yield f"the candidate's own run could not be followed to its end: {growth['ended']}"


def _size(step: Mapping[str, Any]) -> float:
    return float(step["to"]) - float(step["from"])


def _share(value: Any) -> str:
    return f"{float(value):.3g}"
