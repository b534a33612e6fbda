"""Which cases there are, and under which tolerance."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import NETWORK, loaded

from pytest_ncnn_parity.compare.comparisons import BUILT_IN
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, OPERATORS, Tolerance
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.plan.names import matches
from pytest_ncnn_parity.plan.tolerances import Tolerances
from pytest_ncnn_parity.spec.spec import Spec

RANGE = BUILT_IN["fp16-range"][0]
SHIPPED = BUILT_IN["shipped"][0]
FP32 = BUILT_IN["cpu-vs-vulkan"][0]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Plan]:
    return partial(loaded, tmp_path)


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


# -- selection -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*", ["in0", "fork", "conv_1", "gelu_1", "prob_1"]),
        ("*_1", ["conv_1", "gelu_1", "prob_1"]),
        ("conv_1", ["conv_1"]),
        ("CONV_1", []),
        ("conv", []),
        ("????", ["fork"]),
        ("type:Convolution", ["conv_1"]),
        ("type:*o*", ["conv_1", "prob_1"]),
        ("type:conv_1", []),
    ],
)
def test_a_pattern_is_a_name_a_glob_or_an_operator(pattern: str, matched: list[str]) -> None:
    layers = param.parse(NETWORK, "net.param").layers
    assert [layer.name for layer in layers if matches(pattern, layer)] == matched


@pytest.mark.parametrize(
    ("layers", "selected"),
    [
        ("{}", ["in0", "fork", "conv_1", "gelu_1", "prob_1"]),
        ("{include: [prob_1, conv_1]}", ["conv_1", "prob_1"]),
        ("{exclude: ['type:Split', '*_1']}", ["in0"]),
        ("{include: ['*_1'], exclude: ['type:GELU']}", ["conv_1", "prob_1"]),
    ],
)
def test_layers_are_included_and_excluded_in_running_order(
    layers: str, selected: list[str], load
) -> None:
    plan = load(f"layers: {layers}")
    assert [layer.name for layer in plan.layers] == selected


def test_cases_are_the_layers_then_the_outputs(load) -> None:
    plan = load("layers: {exclude: [fork]}")
    assert names(plan.cases(SHIPPED)) == [
        "in0", "conv_1", "gelu_1", "prob_1", "output:out0", "output:out1",
    ]  # fmt: skip
    assert plan.cases(SHIPPED)[1].id == "shipped::conv_1"


def test_a_layer_without_outputs_has_no_case(load) -> None:
    """As a Silence of Caffe has none, or the metadata that sherpa-ncnn puts into a file."""
    silent = NETWORK.replace("5 6", "7 6") + "Noop silence 1 0 out1\nMeta data 0 0 0=2 -23330=0\n"
    plan = load(network=silent)
    assert [layer.name for layer in plan.masked.layers][-2:] == ["silence", "data"]
    assert names(plan.cases(SHIPPED)) == [
        "in0", "fork", "conv_1", "gelu_1", "prob_1", "output:out0",
    ]  # fmt: skip


def test_an_input_is_judged_only_where_16_bits_may_lose_it(load) -> None:
    assert "in0" not in names(load().cases(FP32))
    assert "in0" in names(load().cases(RANGE))


def test_the_range_of_fp16_has_no_output_cases(load) -> None:
    assert not any(case.output for case in load().cases(RANGE))


def test_layers_of_one_name_get_their_number(load) -> None:
    network = NETWORK.replace("gelu_1", "conv_1")
    assert names(load("", network).cases(FP32))[:4] == ["fork", "conv_1#2", "conv_1#3", "prob_1"]


def test_a_double_colon_does_not_reach_a_node_id(load) -> None:
    network = NETWORK.replace("gelu_1", "net::gelu").replace("out0", "net::out0")
    named = names(load("", network).cases(FP32))
    assert "net:gelu" in named
    assert "output:net:out0" in named


NAME = st.text(":#ab01", min_size=1, max_size=5)


@settings(deadline=None)
@given(st.lists(NAME, min_size=1, max_size=6), st.lists(NAME, min_size=1, max_size=3, unique=True))
def test_case_names_are_unique_and_free_of_double_colons(layers: list[str], outputs: list[str]) -> None:
    lines = [f"ReLU {name} 1 1 x{i} x{i + 1}" for i, name in enumerate(layers)]
    lines.append(f"Slice cut 1 {len(outputs)} x{len(layers)} {' '.join(outputs)}")
    counts = f"{len(lines) + 1} {len(lines) + len(outputs)}"
    graph = param.parse("\n".join(["7767517", counts, "Input in 0 1 x0", *lines]), "net.param")
    spec = Spec(
        model={"param": "net.param", "bin": "net.bin"}, inputs={"s": {"x0": {"random": "normal"}}}
    )
    named = names(Plan(spec, graph).cases(FP32))
    assert len(set(named)) == len(named)
    assert not [name for name in named if "::" in name]


# -- tolerance -----------------------------------------------------------------------------------


def tolerance(plan: Plan, name: str, comparison: str = "cpu-vs-vulkan") -> Tolerance:
    (of_this_name,) = (c for c in plan.cases(BUILT_IN[comparison][0]) if c.name == name)
    return of_this_name.tolerance


def test_defaults_are_those_of_the_precision(load) -> None:
    assert tolerance(load(), "conv_1") == DEFAULTS["fp32"].layer
    assert tolerance(load(), "output:out0") == DEFAULTS["fp32"].output
    assert tolerance(load(), "conv_1", "shipped") == DEFAULTS["fp16"].layer
    assert tolerance(load(), "conv_1", "fp16-range") == DEFAULTS["fp16"].layer


def test_an_operators_default_lies_over_the_precisions(load) -> None:
    assert tolerance(load(), "gelu_1") == OPERATORS["fp32", "GELU"] != DEFAULTS["fp32"].layer
    assert tolerance(load(), "gelu_1", "shipped") == DEFAULTS["fp16"].layer


def test_an_operator_in_int8_is_another_one() -> None:
    spec = Spec(model={"param": "n.param", "bin": "n.bin"}, inputs={"s": {"x0": {"random": "normal"}}})
    lines = [
        "Input in 0 1 x0",
        "ConvolutionDepthWise a 1 1 x0 x1 8=101",
        "ConvolutionDepthWise b 1 1 x1 x2",
    ]
    plan = Plan(spec, param.parse("\n".join(["7767517", "3 3", *lines]), "n.param"))
    assert tolerance(plan, "a") == OPERATORS["fp32", "int8 ConvolutionDepthWise"]
    assert tolerance(plan, "b") == DEFAULTS["fp32"].layer


def test_functions_that_are_less_accurate_have_tolerances_that_others_have_not() -> None:
    spec = Spec(model={"param": "n.param", "bin": "n.bin"}, inputs={"s": {"x0": {"random": "normal"}}})
    lines = [
        "Input in 0 1 x0",
        "UnaryOp a 1 1 x0 x1 0=6",
        "UnaryOp b 1 1 x1 x2 0=7",
        "UnaryOp c 1 1 x2 x3",
        "UnaryOp asin 1 1 x3 x4 0=12",
        "UnaryOp cos 1 1 x4 x5 0=10",
        "Split s 1 2 x5 x6 x7",
        "BinaryOp atan2 2 1 x6 x7 x8 0=10",
    ]
    plan = Plan(spec, param.parse("\n".join(["7767517", "8 9", *lines]), "n.param"))
    assert tolerance(plan, "a") == OPERATORS["fp32", "UnaryOp rsqrt"]
    assert tolerance(plan, "b") == tolerance(plan, "c") == DEFAULTS["fp32"].layer
    assert tolerance(plan, "asin") == tolerance(plan, "atan2") == OPERATORS["fp32", "arcus"]
    assert tolerance(plan, "cos") == OPERATORS["fp32", "UnaryOp sin or cos"]


def test_what_a_cpu_may_compute_by_winograd_in_fp16_is_allowed_more() -> None:
    spec = Spec(model={"param": "n.param", "bin": "n.bin"}, inputs={"s": {"x0": {"random": "normal"}}})
    lines = [
        "Input in 0 1 x0",
        "Convolution a 1 1 x0 x1 0=8 1=3 6=576",
        "Convolution masked 1 1 x1 x2 0=8 1=3 6=576 31=64",
        "Convolution strided 1 1 x2 x3 0=8 1=3 3=2 6=576",
        "ConvolutionDepthWise deep 1 1 x3 x4 0=8 1=3 6=72 7=8",
    ]
    plan = Plan(spec, param.parse("\n".join(["7767517", "5 5", *lines]), "n.param"))
    _, layer, *others = plan.graph.layers
    on_cpu = BUILT_IN["fp16-vs-fp32-cpu"][0]
    assert on_cpu.candidate is not None
    allowed = OPERATORS["fp16", "winograd Convolution"]
    assert plan.tolerances(on_cpu).of_layer(layer) == allowed
    assert plan.tolerances(on_cpu.on("arm")).of_layer(layer) == allowed
    usual = DEFAULTS["fp16"].layer
    assert {plan.tolerances(on_cpu).of_layer(other) for other in others} == {usual}
    assert plan.tolerances(SHIPPED).of_layer(layer) == usual
    direct = replace(on_cpu.candidate, options={"use_winograd_convolution": False})
    assert plan.tolerances(replace(on_cpu, candidate=direct)).of_layer(layer) == usual


def test_where_weights_were_rounded_layers_that_have_such_are_allowed_more(load) -> None:
    plan = load("tolerance: {fp32: {rtol: 0.5}}")
    names = plan.graph.names
    rounded = frozenset({names["conv_1"].number})
    other = replace(counterparts(plan.graph, plan.graph), halves=(0, 1), rounded=rounded)
    tolerances = Tolerances(load().spec.tolerance, FP32, other)
    assert tolerances.of_layer(names["conv_1"]) == DEFAULTS["fp16-weights"].layer
    assert tolerances.of_layer(names["gelu_1"]) == OPERATORS["fp32", "GELU"]
    assert tolerances.of_output("out1") == DEFAULTS["fp16-weights"].output
    of_spec = Tolerances(plan.spec.tolerance, FP32, other)
    assert of_spec.of_layer(names["conv_1"]) == of_spec.of_output("out1") == Tolerance(rtol=0.5)
    assert Tolerances(load().spec.tolerance, SHIPPED, other).of_output("out1") == DEFAULTS["fp16"].output
    both = Tolerances(load().spec.tolerance, FP32, replace(other, halves=(1, 1), rounded=frozenset()))
    assert both.of_layer(names["conv_1"]) == DEFAULTS["fp32"].layer
    assert both.of_output("out1") == DEFAULTS["fp16-weights"].output


def test_weights_in_bf16_are_allowed_more_than_in_fp16_where_one_file_alone_has_them(load) -> None:
    plan = load("tolerance: {}")
    conv = plan.graph.names["conv_1"]
    rounded = frozenset({conv.number})
    other = replace(counterparts(plan.graph, plan.graph), brains=(0, 3), rounded=rounded)
    for halves in ((0, 0), (3, 0)):
        one = Tolerances(plan.spec.tolerance, FP32, replace(other, halves=halves))
        assert one.of_layer(conv) == DEFAULTS["bf16-weights"].layer
        assert one.of_output("out1") == DEFAULTS["bf16-weights"].output
    both = Tolerances(plan.spec.tolerance, FP32, replace(other, brains=(3, 3), rounded=frozenset()))
    assert both.of_layer(conv) == DEFAULTS["fp32"].layer
    assert both.of_output("out1") == DEFAULTS["fp32"].output


def test_the_specs_precision_lies_over_the_operators_default(load) -> None:
    plan = load("tolerance: {fp32: {rtol: 0.5}, fp16: {atol: 0.25}}")
    assert tolerance(plan, "gelu_1") == Tolerance(rtol=0.5)
    assert tolerance(plan, "conv_1") == tolerance(plan, "output:out1") == Tolerance(rtol=0.5)
    assert tolerance(plan, "gelu_1", "shipped") == Tolerance(atol=0.25)


def test_layer_patterns_lie_over_the_precision_the_later_over_the_earlier(load) -> None:
    plan = load(
        "tolerance:\n"
        "  fp32: {rtol: 0.5, cosine: 0.9}\n"
        "  layers: {'*_1': {scaled: 0.1}, 'type:GELU': {atol: 2, cosine: 0.8}, gelu_1: {rtol: 3}}\n"
        "  outputs: {'out*': {cosine: 0.7}, out1: {sqnr_db: 20}}\n"
    )
    assert tolerance(plan, "fork") == Tolerance(rtol=0.5, cosine=0.9)
    assert tolerance(plan, "conv_1") == Tolerance(scaled=0.1, cosine=0.9)
    assert tolerance(plan, "gelu_1") == Tolerance(rtol=3, cosine=0.8)
    assert tolerance(plan, "output:out0") == Tolerance(rtol=0.5, cosine=0.7)
    assert tolerance(plan, "output:out1") == Tolerance(rtol=0.5, cosine=0.7, sqnr_db=20)


@pytest.mark.parametrize("given_keys", [{"atol": 0.0}, {"rtol": 1.0}, {"scaled": 2.0}])
def test_one_part_of_the_tolerance_replaces_all_of_it(given_keys: dict[str, float]) -> None:
    base = Tolerance(1.0, 1.0, 1.0, cosine=0.9, sqnr_db=30.0)
    assert base.updated(given_keys) == Tolerance(**given_keys, cosine=0.9, sqnr_db=30.0)


def test_a_condition_on_the_whole_keeps_the_tolerance() -> None:
    base = Tolerance(1.0, 2.0, 3.0, cosine=0.9)
    assert base.updated({"cosine": 0.5}) == Tolerance(1.0, 2.0, 3.0, cosine=0.5)
    assert base.updated({}) == base


# -- known failures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        ("layer: conv_1", {"noise conv_1", "flat conv_1"}),
        ("layer: conv_1, sample: flat", {"flat conv_1"}),
        ("layer: 'type:GELU', comparison: shipped", {"noise gelu_1", "flat gelu_1"}),
        ("layer: conv_1, comparison: cpu-vs-vulkan", set()),
        ("output: 'out*', sample: noise", {"noise output:out0", "noise output:out1"}),
        ("layer: 'out*'", set()),
    ],
)
def test_a_known_failure_is_found_by_its_keys(entry: str, known: set[str], load) -> None:
    plan = load(f"known: [{{{entry}, reason: as ever}}]")
    reasons = {
        f"{sample} {case.name}": plan.known(sample, case)
        for sample in plan.spec.inputs
        for case in plan.cases(SHIPPED)
    }
    assert {case for case, reason in reasons.items() if reason} == known
    assert set(reasons.values()) <= {None, "as ever"}


# -- masks ---------------------------------------------------------------------------------------


def test_masks_of_the_spec_are_or_ed_onto_the_files(load) -> None:
    plan = load("masks: {conv_1: 18, prob_1: 1}")
    assert {r.name: r.mask for r in plan.masked.layers if r.mask} == {"conv_1": 19, "prob_1": 1}
    assert {r.name: r.mask for r in plan.graph.layers if r.mask} == {"conv_1": 1}
