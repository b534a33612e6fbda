"""Networks in another interpreter's ncnn: alike to the bit, and whatever befalls them is told once."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import networks
import psutil
import pytest
from conftest import Gate

pytestmark = pytest.mark.once

# Takes the program as Python does, and lets the server do something else, once, in its second run.
WRAPPER = """\
import os, sys, time
count = int(sys.stdin.buffer.readline())
program = sys.stdin.buffer.read(count).decode()
flag, act = sys.argv[1:3]
change = f'''
import os, sys, time
old = module.Server.do_run
runs = []
def do_run(self, request):
    runs.append(1)
    if len(runs) == 2 and not os.path.exists({flag!r}):
        open({flag!r}, "w").close()
        {act}
    return old(self, request)
module.Server.do_run = do_run
'''
head, call = program.rsplit("module.main()", 1)
exec(head + change + "module.main()" + call)
"""
ACTS = {
    "dies": "os.kill(os.getpid(), 11)",
    "hangs": "time.sleep(1000)",
    "cut": "os.kill(os.getppid(), 9); time.sleep(1000)",
    "shape": "request.parts += [memoryview(bytes(4))]; return {'outputs': [[0, [1], 'f']], 'ms': 1.0}",
    "lies": "return {'outputs': [[0, [-1], 'f']], 'ms': 1.0}",
}
UNPACKED = "options: {use_packing_layout: false}"
LAYERS = ["c1", "c2", "c3", "output:c3"]


def acting(folder: Path, name: str) -> str:
    """The declaration of a worker that does what `ACTS` says."""
    script = folder / "wrapper.py"
    script.write_text(WRAPPER, "utf-8")
    words = [sys.executable, str(script), str(folder / f"{name}.flag"), ACTS[name]]
    return f"{name}: command={shlex.quote(shlex.join(words))}"


def ini(folder: Path, *lines: str) -> None:
    settings = ["[pytest]", "ncnn_parity_timeout = 4", "ncnn_parity_workers ="]
    (folder / "pytest.ini").write_text("\n    ".join(["\n".join(settings), *lines]) + "\n", "utf-8")


def left_running(folder: Path) -> list[list[str]]:
    """The commands of processes that name `folder`, once they had time to end."""
    deadline = time.monotonic() + 20
    while True:
        commands = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        left = [words for words in commands if str(folder / "wrapper.py") in words]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def test_each_worker_has_its_own_fate(gate: Gate, pytester: pytest.Pytester) -> None:
    folder = pytester.path
    networks.convolution(folder)
    failing = {"gone": f"python={folder}/gone", "bare": f"command='{sys.executable} -S'"}
    ini(
        folder,
        f"same: python={sys.executable}",
        *(f"{name}: {how}" for name, how in failing.items()),
        *(acting(folder, name) for name in ACTS),
    )
    names = ["same", "nobody", *failing, *ACTS]
    compare = [f"{{name: {name}, candidate: {{worker: {name}}}}}" for name in names]
    compare += [f"{{name: plain, reference: {{{UNPACKED}}}, candidate: {{{UNPACKED}, worker: same}}}}"]
    networks.spec(folder, f"{networks.NOISE}compare: [{', '.join(compare)}]\n")
    run = gate("--ncnn-parity-cache=cache", "--ncnn-parity-repro=repro", "-p", "no:cacheprovider")

    def fates(name: str) -> list[str | None]:
        cases = [run.cases[f"noise::{name}::{layer}"] for layer in LAYERS]
        return [case["cause"] if case["outcome"] == "failed" else case["outcome"] for case in cases]

    for name in ("same", "plain"):
        assert fates(name) == ["passed"] * 4
        cases = [run.cases[f"noise::{name}::{layer}"] for layer in LAYERS]
        assert {case["metrics"]["max_abs"] for case in cases} == {0}
    assert fates("nobody") == ["skipped"] * 4
    assert "add 'nobody: python=" in run.cases["noise::nobody::c1"]["message"]
    assert fates("dies") == ["passed", "crash", "passed", "passed"]
    assert fates("hangs") == ["passed", "timeout", "passed", "passed"]
    assert fates("cut") == ["passed", "worker", "passed", "passed"]
    assert fates("shape") == ["passed", "device", "passed", "passed"]
    assert fates("lies") == ["passed", "worker", "skipped", "skipped"]
    for name, said in (("gone", "No such file"), ("bare", "has no ncnn")):
        assert fates(name) == ["worker", "skipped", "skipped", "skipped"]
        assert all(said in run.cases[f"noise::{name}::{layer}"]["message"] for layer in LAYERS)
    assert "SIGSEGV" in run.cases["noise::dies::c2"]["message"]
    assert all(case["repro"] is None for case in run.cases.values() if case["outcome"] == "failed")
    environment = run.report["environment"]
    assert environment["workers"]["same"]["ncnn"] == environment["ncnn"]
    assert environment["workers"].keys() == {"same", *ACTS}
    assert left_running(folder) == []

    again = gate("--ncnn-parity-cache=cache", "-k", "same")
    assert again.ids("passed") == [f"noise::same::{layer}" for layer in LAYERS]
    assert not any(case.get("cached") for case in again.cases.values())


def test_a_fix_is_searched_for_and_proven_on_the_worker(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.overflow_beside(pytester.path, "ReLU", "")
    ini(pytester.path, f"same: python={sys.executable}")
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
    assert set(run.ids("failed", "nobody")) == {case for case in run.cases if "::nobody::" in case}
    assert run.report["environment"]["workers"].keys() == {"same"}
