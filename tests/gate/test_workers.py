"""Networks in another interpreter's ncnn: equal to the bit; whatever happens is reported once."""

from __future__ import annotations

import os
import sys

import declared
import networks
import pytest
from conftest import Gate

pytestmark = pytest.mark.once

ACTS = {
    "dies": "os.kill(os.getpid(), 11)",
    "cut": "os.kill(os.getppid(), 9); time.sleep(1000)",
    "shape": "request.parts += [memoryview(bytes(4))]; return {'outputs': [[0, [1], 'f']], 'ms': 1.0}",
}
# what is no answer, each in another way: its length, its end, its numbers, its shape
LIES = {
    "short": "request.parts += [memoryview(bytes(3))]; return {'outputs': [[0, [1], 'f']], 'ms': 1.0}",
    "long": "request.parts += [memoryview(bytes(9))]; return {'outputs': [[0, [1], 'f']], 'ms': 1.0}",
    "endless": "os.write(self._out, b'{'); [os.write(self._out, b' ' * 65536) for _ in iter(int, 1)]",
    "nan": "return {'outputs': [[float('nan'), [1], 'f']], 'ms': 1.0}",
    "late": "return {'outputs': [[0, None, 'f']], 'ms': float('inf')}",
    "negative": "return {'outputs': [[0, [-1], 'f']], 'ms': 1.0}",
    "huge": "return {'outputs': [[0, [1 << 40], 'f']], 'ms': 1.0}",
}
BF16 = "precision: bf16"
UNPACKED = "options: {use_packing_layout: false}"
LAYERS = ["c1", "c2", "c3", "output:c3"]


ADB = """\
[ "$2" = SERIAL ] || { echo "adb: device '$2' not found" >&2; exit 1; }
shift 4
exec sh -c "$*"
"""


def test_each_worker_has_its_own_fate(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pytester.path
    declared.program(folder, "adb", ADB)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    networks.convolution(folder)
    acts = ACTS | LIES
    failing = {"gone": f"python={folder}/gone", "bare": f"command='{sys.executable} -S'"}
    declared.ini(
        folder,
        f"same: python={sys.executable}",
        *(f"{name}: {how}" for name, how in failing.items()),
        "phone: adb=SERIAL python=" + sys.executable,
        "lost: adb=OTHER",
        *(f"{name}: python={declared.acting(folder, name, act)}" for name, act in acts.items()),
    )
    names = ["same", "phone", "nobody", "lost", *failing, *acts]
    compare = [f"{{name: {name}, candidate: {{worker: {name}}}}}" for name in names]
    compare += [f"{{name: plain, reference: {{{UNPACKED}}}, candidate: {{{UNPACKED}, worker: same}}}}"]
    compare += [f"{{name: bf16, reference: {{{BF16}}}, candidate: {{{BF16}, worker: same}}}}"]
    networks.spec(folder, f"{networks.NOISE}compare: [{', '.join(compare)}]\n")
    run = gate("--ncnn-parity-cache=cache", "--ncnn-parity-repro=repro", "-p", "no:cacheprovider")

    def fates(name: str) -> list[str | None]:
        cases = [run.cases[f"noise::{name}::{layer}"] for layer in LAYERS]
        return [case["cause"] if case["outcome"] == "failed" else case["outcome"] for case in cases]

    assert run.cases["noise::bf16::in0"]["metrics"]["max_abs"] == 0  # in 16 bits on both sides
    for name in ("same", "phone", "plain", "bf16"):
        assert fates(name) == ["passed"] * 4
        cases = [run.cases[f"noise::{name}::{layer}"] for layer in LAYERS]
        assert {case["metrics"]["max_abs"] for case in cases} == {0}
    assert fates("nobody") == ["skipped"] * 4
    assert "add 'nobody: python=" in run.cases["noise::nobody::c1"]["message"]
    assert fates("dies") == ["passed", "crash", "passed", "passed"]
    assert fates("cut") == ["passed", "worker", "passed", "passed"]
    assert fates("shape") == ["passed", "device", "passed", "passed"]
    for name in LIES:
        assert fates(name) == ["passed", "worker", "skipped", "skipped"]
        assert f"the worker {name}: " in run.cases[f"noise::{name}::c2"]["headline"]
    for name, said in (
        ("gone", "cannot be started here: No such file"),
        ("bare", "has no ncnn"),
        ("lost", "no such device is connected"),
    ):
        assert fates(name) == ["worker", "skipped", "skipped", "skipped"]
        assert all(said in run.cases[f"noise::{name}::{layer}"]["message"] for layer in LAYERS)
    assert "SIGSEGV" in run.cases["noise::dies::c2"]["message"]
    assert all(case["repro"] is None for case in run.cases.values() if case["outcome"] == "failed")
    environment = run.report["environment"]
    assert environment["workers"]["same"]["ncnn"] == environment["ncnn"]
    assert environment["workers"].keys() == {"same", "phone", *acts}
    assert declared.left_running(folder) == []

    again = gate("--ncnn-parity-cache=cache", "-k", "same")
    assert again.ids("passed") == [f"noise::same::{layer}" for layer in LAYERS]
    assert not any(case.get("cached") for case in again.cases.values())


def test_a_fix_is_searched_for_and_proven_on_the_worker(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.overflow_beside(pytester.path, "ReLU", "")
    declared.ini(pytester.path, f"same: python={sys.executable}")
    compare = "[{on: same, compare: [shipped]}, {name: nobody, candidate: {worker: nobody}}]"
    networks.spec(pytester.path, f"inputs: {{five: {{in0: {{constant: 5}}}}}}\ncompare: {compare}\n")
    run = gate("--ncnn-parity-require-workers")
    assert run.ids("failed", "shipped-on-same") == [
        "five::shipped-on-same::up",
        "five::shipped-on-same::output:out0",
    ]
    assert run.cases["five::shipped-on-same::up"]["cause"] == "storage-overflow"
    fix = run.fixes["shipped-on-same"]
    assert fix["verified"]
    assert set(fix["masks"]) == {"up", "down"}
    assert [other["setup"]["worker"] for other in fix["alternatives"]] == ["same"]
    assert "no case ran on Vulkan" not in run.output  # one was, there
    assert set(run.ids("failed", "nobody")) == {case for case in run.cases if "::nobody::" in case}
    assert run.report["environment"]["workers"].keys() == {"same"}


def test_a_run_that_is_followed_ends_with_its_worker_and_other_comparisons_go_on(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.convolution(pytester.path)
    declared.ini(pytester.path, f"far: python={declared.acting(pytester.path, 'far', LIES['short'])}")
    sides = f"reference: {{worker: far}}, candidate: {{worker: far, {UNPACKED}}}"
    compare = f"[{{name: far, {sides}}}, fp16-range]"
    networks.spec(pytester.path, f"{networks.NOISE}compare: {compare}\n")
    run = gate("--ncnn-parity-accumulated")
    red = [case for case in run.cases.values() if case["outcome"] == "failed"]
    assert [case["cause"] for case in red] == ["worker"]
    assert len(run.ids("passed", "fp16-range")) == 4
