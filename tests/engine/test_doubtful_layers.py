"""Which results depend on a CPU kernel that cannot be believed."""

from __future__ import annotations

from pathlib import Path

import plans
import pytest

from pytest_ncnn_parity.engine import trust
from pytest_ncnn_parity.engine.evidence import Evidence, Underflow
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death

CONV = 2  # conv_1's number


@pytest.mark.parametrize("comparison", [0, 1], ids=["cpu-vs-vulkan", "fp16-vs-fp32-vulkan"])
def test_an_output_behind_it_is_doubted_whatever_it_is_compared_with(
    comparison: int, tmp_path: Path
) -> None:
    plan = plans.loaded(tmp_path, "compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n")
    cases = {case.name: case for case in plan.cases(plan.spec.comparisons[comparison])}
    behind, beside = cases["output:out0"], cases["output:out1"]
    red = Result(behind.id, "failed")
    assert trust.depends_on_reference(red)
    weighed = trust.weighed(behind, red, plan.masked, [trust.Doubt(CONV)])
    assert weighed.evidence.distrust is not None
    assert weighed.evidence.distrust.layer == "conv_1"
    assert (
        trust.weighed(
            beside, Result(beside.id, "failed"), plan.masked, [trust.Doubt(CONV)]
        ).evidence.distrust
        is None
    )


def test_what_is_green_or_was_never_run_depends_on_nothing() -> None:
    assert not trust.depends_on_reference(Result("x", "passed"))
    assert not trust.depends_on_reference(Result("x", "failed", evidence=Evidence(error="no file")))
    refused = Evidence(death=Death("misfit", "does not fit"))
    assert not trust.depends_on_reference(Result("x", "failed", evidence=refused))


def test_what_the_reference_s_own_moves_excuse_is_red_if_it_moves_by_itself(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, "compare: [cpu-vs-vulkan]\n")
    case = next(case for case in plan.cases(plan.spec.comparisons[0]) if case.name == "conv_1")
    excused = Result(case.id, "passed", evidence=Evidence(noise=0.9))
    assert trust.depends_on_reference(excused)
    assert trust.weighed(case, excused, plan.masked, []) is excused
    weighed = trust.weighed(case, excused, plan.masked, [trust.Doubt(CONV)])
    assert (weighed.outcome, weighed.evidence.noise) == ("failed", None)


def test_a_doubtful_reader_of_values_that_become_0_does_not_convict_their_maker(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, "compare: [fp16-range]\n")
    conv = plan.masked.layers[CONV]
    maker = plan.masked.producer[conv.inputs[0]]
    cases = {case.layer.number: case for case in plan.cases(plan.spec.comparisons[0]) if case.layer}
    case = cases[maker.number]
    missed = Underflow(conv.inputs[0], maker.name, 2, conv.name, conv.type, CONV, 1.0)
    red = Result(case.id, "failed", evidence=Evidence(underflow=missed))
    assert trust.depends_on_reference(red)
    assert trust.weighed(case, red, plan.masked, []) is red
    weighed = trust.weighed(case, red, plan.masked, [trust.Doubt(CONV)])
    assert (weighed.outcome, weighed.evidence.underflow) == ("passed", None)
    behind = [number for number in cases if number > CONV]
    assert trust.weighed(case, red, plan.masked, list(map(trust.Doubt, behind))) is red


def test_a_layer_is_doubted_for_memory_or_for_its_elements(tmp_path: Path) -> None:
    graph = plans.loaded(tmp_path, "compare: [cpu-vs-vulkan]\n").graph
    here: trust.Fingerprint = {b: (b, "") for layer in graph.layers for b in layer.outputs}
    assert trust.doubtful_layers(graph, here, dict(here)) == []
    (blob,) = graph.layers[CONV].outputs
    behind = {name: (f"{name} changed", fault) for name, (_, fault) in here.items() if name != "in0"}
    first = trust.doubtful_layers(graph, here, here | behind)
    assert {doubt.fault for doubt in first} == {""}
    uneven: trust.Fingerprint = here | {blob: (blob, "uneven")}
    assert trust.doubtful_layers(graph, uneven, dict(uneven)) == [trust.Doubt(CONV, "uneven")]
