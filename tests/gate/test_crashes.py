"""Native code that kills the worker: the step in flight has the verdict, all others have theirs.

A real driver that does one thing wrong, ncnn itself, or a layer of the project's own raises the signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import faulty_driver
import networks
import own_layers
import pytest
import verdicts
from conftest import in_slow_layer
from network import Network

from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec as specs

LOADS, UPLOADS, EXTRACTS = (
    "vkCreateComputePipelines:1",
    "vkQueueSubmit:2",  # the first is ncnn's own, as it starts
    "vkQueueSubmit:3",
)
SIGNALS = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT)
COMPARE = "[cpu-vs-vulkan, fp16-range]"
LAYERS = ("c1", "c2", "c3", "output:c3")


@pytest.mark.once
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("call", [LOADS, UPLOADS], ids=["load", "upload"])
def test_a_crash_while_loading_is_one_failure(
    call: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two samples want the network; it is loaded, and dies, once."""
    faulty_driver.install(monkeypatch, tmp_path, f"{call}:{number:d}", once=False)
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path, COMPARE, samples=2))
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": "crash"}
    assert faulty_driver.times_it_happened(tmp_path) == 1
    text = judged["s0::cpu-vs-vulkan::c1"].text
    what = f"the network cannot be loaded: killed by {number.name} on vulkan fp32"
    assert text.startswith(f"{what}\nin: load on vulkan fp32")
    for sample in ("s0", "s1"):
        for name in ("c2", "c3", "output:c3"):
            skipped = judged[f"{sample}::cpu-vs-vulkan::{name}"]
            assert (skipped.outcome, "could not load on" in skipped.text) == ("skipped", True)
            if name in ("c2", "c3"):
                assert judged[f"{sample}::fp16-range::{name}"].outcome == "passed"


@pytest.mark.once
@pytest.mark.parametrize("once", [True, False])
def test_a_load_that_the_system_kills_is_tried_once_more(
    once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may run out for a moment. If it does again, nothing that needs the network is run."""
    faulty_driver.install(monkeypatch, tmp_path, f"{LOADS}:{signal.SIGKILL:d}", once=once)
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path, "[cpu-vs-vulkan]", samples=2))
    assert verdicts.failed(judged) == ({} if once else {"s0::cpu-vs-vulkan::c1": "crash"})
    assert faulty_driver.times_it_happened(tmp_path) == (1 if once else 2)


def test_a_load_that_killed_a_worker_is_not_tried_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, tmp_path, f"{LOADS}:11", once=False)
    networks.convolution(tmp_path)
    asked = verdicts.plan(tmp_path)
    cases = list(asked.cases(asked.spec.comparisons[0]))
    engine = Engine(60.0)
    for _ in range(2):
        results = list(engine.run(jobs.judge(asked, "s0", cases, 1)))
        assert [r.id for r in results if r.outcome == "failed"] == ["cpu-vs-vulkan::c1"]
        engine.close()
    assert faulty_driver.times_it_happened(tmp_path) == 1


@pytest.mark.once
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_crash_while_extracting_costs_one_case(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:{number:d}")
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path, COMPARE, samples=2))
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": "crash"}
    assert f"killed by {number.name}" in judged["s0::cpu-vs-vulkan::c1"].text
    others = {name: v.outcome for name, v in judged.items() if v.outcome == "passed"}
    wanted = {f"{s}::cpu-vs-vulkan::{name}" for s in ("s0", "s1") for name in LAYERS}
    assert others.keys() >= wanted - {"s0::cpu-vs-vulkan::c1"}


@pytest.mark.once
def test_a_worker_that_just_exits_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:exit")
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path))
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": "crash"}
    assert "exit status 7" in judged["s0::cpu-vs-vulkan::c1"].text


@pytest.mark.once
def test_where_every_step_kills_it_ends_soon_and_no_case_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:11", once=False)
    monkeypatch.setattr("pytest_ncnn_parity.engine.client.MAX_DEATHS", 3)
    networks.chain(tmp_path, 9)
    judged = verdicts.of(verdicts.plan(tmp_path, COMPARE, samples=2))
    died = {name: v for name, v in judged.items() if v.outcome == "failed"}
    assert list(verdicts.failed(judged).values()) == ["crash"] * 2 + [None] * 2  # and one in a whole run
    for verdict in list(died.values())[2:]:
        assert "the worker died 4 times with this model" in verdict.text
    assert {v.outcome for name, v in judged.items() if name not in died} <= {"skipped", "passed"}
    assert "l3 says why" in judged["s0::cpu-vs-vulkan::output:l9"].text


def test_parameters_that_make_ncnn_divide_by_zero(tmp_path: Path) -> None:
    """SIGFPE while loading in the oldest ncnn; the newest refuses them."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8")
    x = net.layer("ReLU", "relu", [x])
    net.layer("LSTM", "lstm", [x], ["out0"], "0=0 1=64 2=0", [range(64)] * 3)
    net.write(tmp_path / "net")
    judged = verdicts.of(verdicts.plan(tmp_path, "[fp16-range, cpu-vs-vulkan]", samples=2))
    assert len(verdicts.failed(judged)) == 1
    ((name, cause),) = verdicts.failed(judged).items()
    assert cause in ("crash", "load")
    assert cause == "load" or "killed by SIGFPE" in judged[name].text
    assert {v.outcome for other, v in judged.items() if other != name} == {"skipped"}


def test_a_reference_that_dies_costs_its_layer_and_what_reads_it(tmp_path: Path) -> None:
    """A layer of the project's own reads an address where nothing is."""
    own_layers.affine(tmp_path)
    dies = own_layers.OPS.replace("made = np.array(bottom)", "made = ctypes.string_at(0)")
    own_layers.project(tmp_path, "    import ctypes\n" + dies, compare="compare: [fp16-range]\n")
    judged = verdicts.of(check.plan(specs.load(tmp_path / "net.parity.yaml"), tmp_path))
    assert verdicts.failed(judged) == {"noise::fp16-range::own": "crash"}
    text = judged["noise::fp16-range::own"].text
    assert "killed by SIGSEGV on cpu fp32, the reference" in text
    assert judged["noise::fp16-range::before"].outcome == "passed"
    assert "own on cpu fp32 failed" in judged["noise::fp16-range::after"].text


@pytest.mark.once
def test_a_worker_killed_from_outside_costs_one_case(pytester: pytest.Pytester) -> None:
    networks.slow(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    with in_slow_layer(pytester.path) as (process, lines):
        os.kill(_worker_of(process.pid), signal.SIGKILL)
    output = "".join(lines)
    assert "no fix: slow could not be run to the end: see its own message" in output
    assert "slow (Convolution): killed by SIGKILL" in output
    assert "(crash)" in output
    assert "1 failed, 2 passed" in output


def _worker_of(pid: int) -> int:
    for _ in range(200):
        listed = subprocess.run(
            ["pgrep", "-P", str(pid), "-f", "worker.main"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if listed:
            return int(listed[0])
        time.sleep(0.05)
    raise AssertionError("no worker was started")
