"""Comparisons of the user's own: what they may be, and each fault is reported once."""

import re
from pathlib import Path

import pytest

from pytest_ncnn_parity.compare.comparisons import Pair, Setup
from pytest_ncnn_parity.spec import spec

LEAST = """\
model: {param: net.param, bin: net.bin}
inputs: {noise: {in0: {random: normal}}}
"""


def errors(folder: Path, own: str) -> list[str]:
    """The errors of a spec with the own comparison `own` on line 3, from column 11."""
    path = folder / "net.parity.yaml"
    path.write_text(f"{LEAST}compare: [{own}]\n", "utf-8")
    with pytest.raises(spec.SpecError) as caught:
        spec.load(path)
    return [error.removeprefix(f"{path}:") for error in caught.value.errors]


@pytest.mark.parametrize(
    "sides",
    [
        "candidate: {}",
        "candidate: {device: cpu, precision: fp32}",
        "reference: {device: vulkan}, candidate: {device: vulkan, options: {}}",
        "reference: {options: {a: 1, b: true}}, candidate: {options: {b: true, a: 1}}",
    ],
)
def test_equal_sides_are_refused(sides: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, f"{{name: own, {sides}}}")
    assert error.startswith("3:11: compare.0: reference and candidate are the same")


@pytest.mark.parametrize(
    ("own", "error"),
    [
        ("{name: own, candidat: {device: vulkan}}", "unknown key 'candidat'; .*'candidate'"),
        ("{name: own, candidate: {devic: vulkan}}", "unknown key 'devic'; .*'device'"),
        ("{name: own, candidate: {device: gpu}}", "candidate.device: .*found 'gpu'"),
        ("{name: own, candidate: {device: 'vulkan:'}}", "candidate.device: .*found 'vulkan:'"),
        ("{name: own, candidate: {precision: fp8}}", "candidate.precision: .*found 'fp8'"),
        ("{name: a::b, candidate: {device: vulkan}}", "compare.0.name: .*found 'a::b'"),
        ("{candidate: {device: vulkan}}", "compare.0: the key 'name' is missing"),
        (
            "{name: own, candidate: {device: vulkan, options: {use_vulkan_compute: true}}}",
            "use_vulkan_compute is set by the key 'device'",
        ),
        ("{name: own, candidate: {options: {x: 1.5}}}", "options.x: .*found 1.5"),
        ("3", "compare.0: .*found 3"),
    ],
)
def test_a_wrong_own_comparison_is_one_error(own: str, error: str, tmp_path: Path) -> None:
    reported = [line for line in errors(tmp_path, own) if "'candidate' is missing" not in line]
    assert len(reported) == 1, reported
    assert re.match(r"3:\d+: ", reported[0])
    assert re.search(error, reported[0])


def test_every_unknown_comparison_is_reported_at_its_own_place(tmp_path: Path) -> None:
    reported = errors(tmp_path, "cpu-vs-vulcan, fp16-range, shiped")
    assert len(reported) == 2, reported
    assert re.match("3:11: .*'cpu-vs-vulcan'; did you mean 'cpu-vs-vulkan'", reported[0])
    assert re.match("3:38: .*'shiped'; did you mean 'shipped'", reported[1])


def test_names_of_comparisons_are_unique(tmp_path: Path) -> None:
    own = "{name: shipped, candidate: {device: vulkan}}"
    (error,) = errors(tmp_path, f"shipped, {own}")
    assert "comparison 'shipped' appears twice" in error


@pytest.mark.parametrize(
    ("reference", "candidate", "tolerance"),
    [
        ("fp32", "fp32", "fp32"),
        ("fp32", "bf16", "bf16"),
        ("fp16", "fp32", "fp16"),
        ("fp16", "fp16-storage", "fp16-storage"),
    ],
)
def test_the_tolerance_is_that_of_the_side_with_fewer_bits_the_candidates_first(
    reference: str, candidate: str, tolerance: str
) -> None:
    own = Pair("own", Setup("vulkan", reference), Setup("cpu", candidate))
    assert own.precision == tolerance


def test_a_setup_names_the_worker_that_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "net.parity.yaml"
    own = "{name: own, reference: {worker: old}, candidate: {worker: arm}}"
    path.write_text(f"{LEAST}compare: [{own}, {{on: arm, compare: [shipped, fp16-vs-fp32]}}]\n", "utf-8")
    own_one, *built_in = spec.load(path).comparisons
    assert own_one.workers == ("old", "arm")
    assert [one.name for one in built_in] == [
        "shipped-on-arm",
        "fp16-vs-fp32-vulkan-on-arm",
        "fp16-vs-fp32-cpu-on-arm",
    ]
    assert built_in[0] == Pair(
        "shipped-on-arm", Setup(worker="arm"), Setup("vulkan", "fp16", worker="arm")
    )
    assert {one.workers for one in built_in} == {("arm",)}


@pytest.mark.parametrize(
    ("compared", "place", "error"),
    [
        ("{on: arm, compare: [fp16-range]}", "3:31", "fp16-range runs no candidate"),
        ("{on: arm, compare: [shiped]}", "3:31", "unknown comparison 'shiped'.*'shipped'"),
        ("{on: arm, compare: []}", "3:30", "at least 1"),
        ("{on: arm}", "3:11", "the key 'compare' is missing"),
        ("{on: arm, compere: [shipped], compare: [shipped]}", "3:21", "unknown key 'compere'"),
        ("{on: arm, compare: [shipped, shipped]}", "3:10", "'shipped-on-arm' appears twice"),
        ("{on: [arm], compare: [shipped]}", "3:16", "expected the name of a worker"),
        ("{on: 'python=/bin/x', compare: [shipped]}", "3:16", "declared in the ini"),
        (
            "{name: x, candidate: {worker: 'arm: command=/bin/x'}}",
            "3:41",
            "declared in the ini .*, never in a spec",
        ),
        ("{name: x, candidate: {worker: {command: /bin/x}}}", "3:41", "never in a spec"),
    ],
)
def test_a_spec_names_workers_and_holds_no_command(
    compared: str, place: str, error: str, tmp_path: Path
) -> None:
    (reported,) = errors(tmp_path, compared)
    assert reported.startswith(f"{place}: "), reported
    assert re.search(error, reported), reported
