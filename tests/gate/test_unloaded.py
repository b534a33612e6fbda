"""A network that kills the device's code while it is loaded: which layer must leave the device?"""

from __future__ import annotations

from pathlib import Path

import faulty_driver
import networks
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once


def half_hinted(folder: Path) -> None:
    """Shape hints on all layers but one: the shader of a Concat divides by what it does not know."""
    net = Network()
    hint = "-23330=4,3,16,16,8"
    x = net.layer("Input", "in0", params=f"0=16 1=16 2=8 {hint}")
    a, b = net.split(x, 2)
    a = net.layer("ReLU", "hinted", [a], params=hint)
    b = net.layer("BinaryOp", "bare", [b], params="0=2 1=1 2=0.5")
    x = net.layer("Concat", "both", [a, b], params="-23330=4,3,16,16,16")
    net.layer("Sigmoid", "sigmoid", [x], ["out0"], "-23330=4,3,16,16,16")
    net.write(folder / "net")


@pytest.mark.since_ncnn("1.0.20261020", "there it is loaded, and wrong")
def test_the_layer_that_kills_it_is_found_and_masked(gate: Gate, pytester: pytest.Pytester) -> None:
    half_hinted(pytester.path)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n")
    run = gate()
    causes = {case["comparison"]: case["cause"] for case in run.cases.values() if case["cause"]}
    assert causes == dict.fromkeys(("cpu-vs-vulkan", "fp16-vs-fp32-vulkan"), "crash")
    assert "the network cannot be loaded: killed by SIGFPE on vulkan fp32" in run.output
    for comparison in causes:
        fix = run.fixes[comparison]
        assert (fix["masks"], fix["verified"], fix["minimal"]) == ({"both": 16}, True, True)
    networks.spec(
        pytester.path,
        f"{networks.NOISE}compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\nmasks: {{both: 16}}\n",
    )
    assert gate().ids("failed") == []


def test_where_any_shader_kills_it_nothing_may_stay_on_the_device(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, pytester.path, "vkCreateComputePipelines:1:11", once=False)
    networks.convolution(pytester.path)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    fix = gate().fixes["cpu-vs-vulkan"]
    assert (fix["masks"], fix["verified"]) == (dict.fromkeys(("c1", "c2", "c3"), 16), True)


def test_a_crash_that_does_not_come_back_needs_no_mask(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, pytester.path, "vkCreateComputePipelines:3:11")
    networks.convolution(pytester.path)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("failed") == ["noise::cpu-vs-vulkan::c1"]
    fix = run.fixes["cpu-vs-vulkan"]
    assert (fix["masks"], fix["verified"]) == ({}, False)
    assert fix["how"] == "the network was loaded, and was right, when it was tried again"
