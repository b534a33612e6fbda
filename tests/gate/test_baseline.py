"""--ncnn-parity-baseline: a run compared with a saved report, with real networks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from conftest import Gate

from pytest_ncnn_parity.network import param

pytestmark = pytest.mark.once

AGAINST = "--ncnn-parity-baseline=saved.json"
BRANCHES = "inputs:\n  flat: {{in0: {{constant: {}}}}}\ncompare: [fp16-range]\n"


def save(gate: Gate, folder: Path, *args: str) -> None:
    gate("--ncnn-parity-fix=off", *args)
    (folder / "report.json").replace(folder / "saved.json")


def kinds(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(regression["kind"], regression["name"]) for regression in report["regressions"]]


def export_anew(path: Path) -> None:
    """Give every layer and every inner blob another name, as a new export does, and insert a layer."""
    graph = param.read(str(path))
    kept = {*graph.inputs, *graph.outputs}
    blobs = {blob: blob if blob in kept else f"{n + 100}" for n, blob in enumerate(graph.producer)}
    lines = [f"{len(graph.layers) + 1} {len(graph.producer) + 1}"]
    first = graph.consumers[graph.inputs[0]][0]
    for layer in graph.layers:
        inputs = [blobs[blob] for blob in layer.inputs]
        if layer == first:
            lines.append(f"Noop keep_0 1 1 {inputs[0]} 99")
            inputs[0] = "99"
        names = [*inputs, *(blobs[blob] for blob in layer.outputs)]
        params = [f"{key}={value}" for key, value in layer.params.items()]
        if layer.type == "Softmax":
            params.append("31=16")  # off the GPU
        name = f"l{layer.number + 1}"
        counts = f"{len(layer.inputs)} {len(layer.outputs)}"
        lines.append(" ".join([layer.type, name, counts, *names, *params]))
    path.write_text("\n".join(["7767517", *lines, ""]), "utf-8")


def test_a_new_export_is_matched_by_structure_and_layers_that_left_the_gpu_are_reported(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    example("digits")
    some = ("-k", "image0")
    save(gate, pytester.path, *some)
    count = len(param.read(str(pytester.path / "digits.param")).layers)
    export_anew(pytester.path / "digits.param")

    run = gate(AGAINST, *some)
    assert run.result.ret == 0  # reported; red only if asked for
    baseline = run.report["baseline"]
    assert [entry["name"] for entry in baseline["added"]] == ["keep_0"]
    assert len(baseline["renamed"]) == count
    assert {entry["matched_by"] for entry in baseline["renamed"]} == {"structure"}
    moved = [r for r in run.report["regressions"] if r["kind"] == "moved"]
    assert {r["comparison"] for r in moved} == {"cpu-vs-vulkan", "fp16-vs-fp32-vulkan"}
    assert {r["was"] for r in moved} == {"softmax_9"}
    assert {r["kind"] for r in run.report["regressions"]} <= {"moved", "skipped"}
    run.result.stdout.fnmatch_lines(
        [
            "*= ncnn parity baseline =*",
            "against saved.json: 2 left the GPU*",
            "  since then: *digits.parity.yaml: .param changed",
            "  new layers: keep_0",
            f"  new names, found by structure: l1 (was in0), l2 (was convrelu_0) and {count - 2} more",
            "  left the GPU:",
            "      l* (was softmax_9) (Softmax): left the GPU: vulkan* -> cpu*",
        ]
    )


def test_headroom_then_red_and_the_run_may_write_over_its_baseline(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.two_branches(pytester.path)
    networks.spec(pytester.path, BRANCHES.format(1.0))
    save(gate, pytester.path)

    networks.spec(pytester.path, BRANCHES.format(2.1))  # `huge` makes 63000 of it
    run = gate(AGAINST, "--ncnn-parity-baseline-fail")
    assert (run.result.ret, kinds(run.report)) == (1, [("headroom", "huge")])
    assert "3e+04 -> 6.3e+04: fp16 ends at 65504, 1 times as large" in run.output

    networks.spec(pytester.path, BRANCHES.format(3.0))
    wider = ("--ncnn-parity-baseline-factor=2.5", "--ncnn-parity-fix=off")
    run = gate(AGAINST, "--ncnn-parity-json=saved.json", *wider)
    assert run.result.ret == 1
    saved = json.loads((pytester.path / "saved.json").read_text("utf-8"))
    assert ("red", "huge") in kinds(saved)
    assert saved["baseline"]["factor"] == 2.5
    assert "huge (BinaryOp): red, passed in the baseline: huge (BinaryOp): " in run.output


def test_what_k_leaves_out_has_not_vanished_and_what_the_spec_lost_has(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, "inputs:\n  one: {in0: {constant: 1}}\n  two: {in0: {constant: 2}}\n")
    save(gate, pytester.path, "-k", "fp16-range")
    networks.chain(pytester.path, layers=3)
    networks.spec(pytester.path, networks.NOISE.replace("noise", "one"))
    run = gate(AGAINST, "-k", "fp16-range and l1")
    assert kinds(run.report) == [("vanished", "two"), ("vanished", "l4")]
    assert list(run.cases) == ["one::fp16-range::l1"]


def test_a_recording_that_the_spec_lost_has_vanished_and_files_that_changed_are_named(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    graph = param.read(str(pytester.path / "net.param"))
    (last,), (first,) = graph.outputs, graph.layers[1].outputs
    text = (
        "inputs:\n  one: {{in0: {{file: in0.npy}}, expect: {{{}: {{file: {}.npy}}}}}}\n"
        "compare: [fp16-range]\n"
    )
    for name, value in (("in0", 0.5), (first, 0.75), (last, 1.5)):
        np.save(pytester.path / f"{name}.npy", np.full(8, value, np.float32))
    networks.spec(pytester.path, text.format(last, last))
    save(gate, pytester.path)
    assert gate(AGAINST).report["regressions"] == []

    np.save(pytester.path / "in0.npy", np.full(8, 0.25, np.float32))
    networks.spec(pytester.path, text.format(first, first))
    run = gate(AGAINST)
    assert ("vanished", last) in kinds(run.report)
    assert f"output {last}: the spec no longer compares it" in run.output
    assert "net.parity.yaml: spec and in0.npy changed" in run.output


WHOLE = {"schema": 1, "environment": {}, "models": [], "regressions": [], "baseline": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist. Save one with --ncnn-parity-json=FILE"),
        (b"\xff{}", "is not UTF-8 text: invalid start byte at byte 0. Save one*"),
        (b'{"schema": 1,\n "mod', "is not JSON: * at line 2, column 2. Save one*"),
        (b'{"schema": 1, "mod', "is not JSON: Unterminated string starting at line 1, column 15. Save*"),
        (
            b'{"schema": 1%s}' % (b"0" * 5000),
            "is no report: an integer has thousands of digits. Save one*",
        ),
        (b'\xef\xbb\xbf{"schema": 0}', "has schema 0, and this version reads 1. Save the baseline anew"),
        (b"[" * 100_000, "is n*"),
        (b"[]", "is JSON, but not a report: it has no 'schema' number. Save one*"),
        (b'{"schema": true}', "is JSON, but not a report: it has no 'schema' number. Save one*"),
        (
            b'{"schema": 2}',
            "has schema 2, and this version reads 1. Update pytest-ncnn-parity, or save*",
        ),
        (b'{"schema": 0}', "has schema 0, and this version reads 1. Save the baseline anew"),
        (
            json.dumps(WHOLE).encode(),
            "is not a complete report: environment.ncnn: field required. Save one*",
        ),
    ],
)
def test_a_file_that_is_no_report_is_one_error_before_anything_runs(
    pytester: pytest.Pytester, content: bytes | None, message: str
) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    if content is not None:
        (pytester.path / "saved.json").write_bytes(content)
    result = pytester.runpytest_inprocess("--ncnn-parity", AGAINST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert len(errors) == 1
    pattern = re.escape(f"ERROR: --ncnn-parity-baseline={pytester.path / 'saved.json'}: {message}")
    assert re.fullmatch(pattern.replace(r"\*", ".*"), errors[0])
    assert result.stdout.str() == ""


@pytest.mark.parametrize("factor", ["1", "0.5", "nan", "inf", "twice"])
def test_a_factor_that_is_none(pytester: pytest.Pytester, factor: str) -> None:
    result = pytester.runpytest_inprocess("--ncnn-parity", f"--ncnn-parity-baseline-factor={factor}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --ncnn-parity-baseline-factor={factor}: expected a number above 1*"]
    )
