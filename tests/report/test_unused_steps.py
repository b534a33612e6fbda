"""Layers in int8 whose input leaves most steps unused in every sample have a note."""

from __future__ import annotations

from typing import Any

import documents

from pytest_ncnn_parity.report import unused_steps


def layer(name: str, sample: str, steps: float | None, comparison: str = "int8") -> Any:
    more = {} if steps is None else {"input_steps": steps}
    metrics = {**documents.metrics(0.0), **more}
    return documents.case("", comparison, sample=sample, layer=name, metrics=metrics)


def test_a_layer_is_named_if_no_sample_uses_more_than_a_third_of_the_steps() -> None:
    quiet = [layer("c1", "a", 20.0), layer("c1", "b", 31.75), layer("c2", "a", 12.0)]
    loud = [layer("c2", "b", 120.0), layer("c3", "a", None), layer("c4", "a", 300.0)]
    (line,) = unused_steps.notes([*quiet, *loud])
    assert "int8: the largest input is 32 in c1 of int8's 127 steps, in all samples" in line
    assert unused_steps.notes(loud) == []
    assert unused_steps.notes([layer("dead", "a", 0.0)]) == []  # it says nothing of the scale
    assert unused_steps.notes([{**layer("c1", "a", None), "metrics": None}]) == []


def test_the_fewest_steps_are_named_first_and_the_rest_counted() -> None:
    cases = [layer(f"c{n}", "a", 40.0 - n, name) for n in range(5) for name in ("one", "other")]
    one, other = unused_steps.notes(cases)
    assert one.startswith("one: the largest input is 36 in c4, 37 in c3, 38 in c2 of int8's 127 steps ")
    assert "and few in 2 more layers" in other
