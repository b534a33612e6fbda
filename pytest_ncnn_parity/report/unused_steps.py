"""Says which layers in int8 leave most steps unused: what they read is small beside their scale.

That is no failure by itself: the model may have been calibrated with larger values than a spec feeds.
"""

from __future__ import annotations

from collections.abc import Collection

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.report.document.case import CaseRecord

FEW = INT8_MAX / 3.0
MOST_NAMED = 3


def notes(cases: Collection[CaseRecord]) -> list[str]:
    """Return a line for each comparison in which some layers use few steps in every sample."""
    used: dict[str, dict[str, float]] = {}
    for case in cases:
        steps = None if case["metrics"] is None else case["metrics"].get("input_steps")
        if case["layer"] is not None and steps is not None:
            layers = used.setdefault(case["comparison"], {})
            layers[case["layer"]] = max(layers.get(case["layer"], 0.0), float(steps))
    few = {
        comparison: sorted((steps, layer) for layer, steps in layers.items() if 0.0 < steps < FEW)
        for comparison, layers in used.items()
    }
    return [printable(_line(comparison, some)) for comparison, some in few.items() if some]


def _line(comparison: str, few: Collection[tuple[float, str]]) -> str:
    named = [f"{steps:.0f} in {layer}" for steps, layer in few][:MOST_NAMED]
    more = f" and few in {len(few) - MOST_NAMED} more layers" if len(few) > MOST_NAMED else ""
    return (
        f"{comparison}: the largest input is {', '.join(named)} of int8's {INT8_MAX} steps{more}, in "
        "all samples: if the model was calibrated with such values, these scales are too small"
    )
