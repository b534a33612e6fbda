"""The spec: its keys, their defaults, and errors that point at the place and guess what was meant."""

import re
import time
from pathlib import Path

import pytest
from spec_texts import LEAST, WHOLE, errors, load

from pytest_ncnn_parity.base.errors import MOST_ERRORS
from pytest_ncnn_parity.compare.comparisons import CPU_FP32, OtherFiles, Pair, Setup
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError

# -- what may stand in it ------------------------------------------------------------------------


def test_every_key_of_the_design_is_accepted(tmp_path: Path) -> None:
    loaded = load(tmp_path, WHOLE)
    assert loaded.param == tmp_path / "gfpgan.param"
    assert loaded.bin == tmp_path / "gfpgan.bin"
    assert [c.name for c in loaded.comparisons] == [
        "cpu-vs-vulkan",
        "fp16-vs-fp32-vulkan",
        "fp16-vs-fp32-cpu",
        "fp16-range",
        "without-winograd",
        "shipped-on-board",
        "int8",
    ]
    assert loaded.comparisons[-3].reference == Setup(
        "vulkan:1", "fp16-storage", {"use_winograd_convolution": False}
    )
    assert loaded.comparisons[-3].candidate == Setup("cpu", "bf16", {"num_threads": 2}, worker="board")
    assert loaded.comparisons[-1].other_files == OtherFiles("gfpgan-int8.param", "gfpgan-int8.bin")
    assert loaded.tolerance.of_precision("fp16-storage").given() == {"rtol": 1e-2}
    assert loaded.tolerance.of_precision("fp16-packed").given() == {
        "scaled": 0.1,
        "cosine": 0.99,
        "sqnr_db": 30,
    }
    assert loaded.tolerance.layers["conv_1*"].given() == {"atol": 1e-3, "rtol": 1e-2}
    assert (loaded.tolerance.headroom, loaded.tolerance.layers["type:Softmax"].headroom) == (2, 1.5)
    assert loaded.inputs["portrait"]["in0"].norm == [0.00784, 0.00784, 0.00784]
    assert loaded.masks == {"sum_249": 18}
    assert [entry.reason for entry in loaded.known] == ["llvmpipe only", "see above"]


def test_two_keys_are_enough(tmp_path: Path) -> None:
    loaded = load(tmp_path, LEAST)
    assert [c.name for c in loaded.comparisons] == [
        "cpu-vs-vulkan",
        "fp16-vs-fp32-vulkan",
        "fp16-vs-fp32-cpu",
        "fp16-range",
    ]
    source = loaded.inputs["noise"]["in0"]
    assert (source.shape, source.seed, source.mean, source.std) == (None, None, 0.0, 1.0)
    assert (loaded.layers.include, loaded.layers.exclude) == (["*"], [])
    assert (loaded.masks, loaded.known, loaded.tolerance.fp16.given()) == ({}, [], {})


def test_normal_values_have_no_bounds_and_uniform_ones_zero_to_one(tmp_path: Path) -> None:
    loaded = load(tmp_path, LEAST.replace("normal}", "normal}, b: {random: uniform, low: -2}"))
    assert loaded.inputs["noise"]["in0"].bounds == (None, None)
    assert loaded.inputs["noise"]["b"].bounds == (-2, 1.0)


def test_an_own_reference_is_the_cpu_in_fp32_unless_given(tmp_path: Path) -> None:
    text = LEAST + "compare: [{name: own, candidate: {device: vulkan, precision: fp16-packed}}]"
    assert load(tmp_path, text).comparisons == [Pair("own", CPU_FP32, Setup("vulkan", "fp16-packed"))]


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("cpu-vs-vulkan", ["cpu fp32 -> vulkan fp32"]),
        ("fp16-vs-fp32", ["vulkan fp32 -> vulkan fp16", "cpu fp32 -> cpu fp16"]),
        ("fp16-vs-fp32-vulkan", ["vulkan fp32 -> vulkan fp16"]),
        ("fp16-vs-fp32-cpu", ["cpu fp32 -> cpu fp16"]),
        ("shipped", ["cpu fp32 -> vulkan fp16"]),
        ("fp16-range", ["cpu fp32 -> None"]),
    ],
)
def test_a_built_in_comparison(name: str, sides: list[str], tmp_path: Path) -> None:
    built_in = load(tmp_path, LEAST + f"compare: [{name}]").comparisons
    assert [f"{c.reference} -> {c.candidate}" for c in built_in] == sides


def test_places_are_found_by_path(tmp_path: Path) -> None:
    loaded = load(tmp_path, WHOLE)
    assert loaded.line("inputs", "portrait") == 7
    assert str(loaded.at("masks", "sum_249")) == f"{tmp_path}/net.parity.yaml:30:18"
    assert str(loaded.at("masks", "sum_249", of_key=True)) == f"{tmp_path}/net.parity.yaml:30:9"


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tolerence: {}", "3:1: unknown key 'tolerence'; did you mean 'tolerance'"),
        ("layers: {exlude: []}", "3:10: unknown key 'exlude'; did you mean 'exclude'"),
        ("tolerance: {fp61: {}}", "3:13: unknown key 'fp61'; did you mean 'fp16'"),
        ("tolerance: {<<: {}}", "3:13: the key '<<': YAML 1.2 merges no mappings; write its keys"),
        ("tolerance: {bf16: {scald: 1}}", "3:20: unknown key 'scald'; did you mean 'scaled'"),
        ("tolerance: {layers: {a: {atl: 1}}}", "3:26: unknown key 'atl'; did you mean 'atol'"),
        ("known: [{laier: x, output: y, reason: z}]", "3:10: .*; did you mean 'layer'"),
        ("compare: [shipped, shipped]", "3:10: compare: comparison 'shipped' appears twice"),
        ("compare: [fp16-vs-fp32, fp16-vs-fp32-cpu]", "3:10: .*'fp16-vs-fp32-cpu' appears twice"),
        ("compare: []", "3:10: compare: "),
        ("masks: {a: 256}", "3:12: masks.a: .*expected 255 or less; found 256"),
        ("masks: {a: -1}", "3:12: masks.a: .*; found -1"),
        ("masks: {a: 18.0}", "3:12: masks.a: .*; found 18.0"),
        (f"masks: {{a: {'9' * 5000}}}", "3:12: masks.a: .*whole number; found '999"),
        (f"masks: {{a: 0x{'f' * 3000}}}", "3:12: masks.a: .*expected a whole number"),
        ("masks: {a: true}", "3:12: masks.a: .*; found true"),
        ("masks: {a: on}", "3:12: masks.a: .*; found 'on'"),
        ("known: [{layer: x}]", "3:9: known.0: the key 'reason' is missing"),
        ("known: [{reason: x}]", "3:9: known.0: name either a layer or an output"),
        ("known: [{layer: x, output: y, reason: z}]", "3:9: .*name either a layer or an output"),
        ("layers:\n  include: '*'", r"4:12: layers.include: .*list: write .*; found '\*'"),
        ("model: {param: a, bin: b}", "3:1: key 'model' appears twice, first on line 1"),
    ],
)
def test_an_error_has_its_place_and_a_guess(text: str, error: str, tmp_path: Path) -> None:
    (message,) = errors(tmp_path, LEAST + text)
    assert re.match(error, message)


@pytest.mark.parametrize(
    ("sample", "place"),
    [("&a {<<: {in0: {random: normal}}}", "2:21"), ("{in0: {<<: {random: normal}, seed: 4}}", "2:24")],
)
def test_a_sample_and_a_source_merge_nothing(sample: str, place: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST.replace("{in0: {random: normal}}", sample))
    assert error == f"{place}: the key '<<': YAML 1.2 merges no mappings; write its keys here"


def test_a_merge_that_leaves_a_key_out_is_one_error(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST.replace("param: net.param", "<<: {param: net.param}"))
    assert error.startswith("1:9: the key '<<': YAML 1.2 merges no mappings")


@pytest.mark.parametrize("name", ["a b", "a::b", "a/b", "'[a]'", "''"])
def test_a_sample_name_must_fit_a_node_id(name: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST.replace("noise", name))
    assert error.startswith("2:10: inputs.")


def test_every_error_is_reported_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = """\
model: {param: net.param}
inputs:
  noise: {in0: {random: nomal, sede: 1}}
tolerance: {fp16: {scaled: .nan, scald: 1}}
masks: {a: x}
unknown: 1
"""
    places = [":".join(error.split(":")[:2]) for error in errors(tmp_path, text)]
    assert places == ["1:1", "3:25", "3:32", "4:28", "4:34", "5:12", "6:1"]


def test_of_very_many_errors_the_first_are_reported_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    reported = errors(tmp_path, LEAST + "masks:\n" + "".join(f"  l{i}: x\n" for i in range(20_000)))
    assert time.monotonic() - start < 60.0
    assert len(reported) == MOST_ERRORS + 1
    assert (reported[0][:4], reported[-1]) == ("4:7:", "... and more")


def test_every_missing_key_is_reported(tmp_path: Path) -> None:
    assert errors(tmp_path, "model: {}\ncompare: [shipped]\n") == [
        "1:1: model: the key 'param' is missing",
        "1:1: model: the key 'bin' is missing",
        "1:1: the spec: the key 'inputs' is missing",
    ]


@pytest.mark.parametrize("text", ["[a, b]", "text", "18", "null"])
def test_a_spec_is_a_mapping(text: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, text)
    assert error.startswith("1:1: ")


def test_a_spec_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.parity\.yaml: does not exist"):
        spec.load(tmp_path / "none.parity.yaml")
    (tmp_path / "net.parity.yaml").write_bytes(b"model: \xff")
    with pytest.raises(SpecError, match=r"net\.parity\.yaml:1:8: not UTF-8 text \(byte 0xff\)"):
        spec.load(tmp_path / "net.parity.yaml")
