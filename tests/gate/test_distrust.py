"""Before precision is blamed: does the candidate repeat itself, and the reference agree with itself?"""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
from network import Network

from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.spec import spec as specs

# an operator that adds noise of its own to what it is given
NOISE = """
import ncnn, numpy as np

class Noise(ncnn.Layer):
    def __init__(self):
        super().__init__()
        self.one_blob_only = True

    def forward(self, bottom, top, option):
        made = np.array(bottom) + np.random.normal(0, SIZE, np.array(bottom).shape)
        top.clone_from(ncnn.Mat(np.ascontiguousarray(made, np.float32)), option.blob_allocator)
        return 0

def register(net):
    net.register_custom_layer("Noise", Noise, lambda layer: None)
"""


def noisy(folder: Path, size: float) -> Plan:
    """A network with noise in it."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("Noise", "noise", [x])
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(folder / "net")
    (folder / "noise.py").write_text(NOISE.replace("SIZE", str(size)), "utf-8")
    text = f"setup: noise:register\n{networks.NOISE}compare: [cpu-vs-vulkan]\n"
    return check.plan(specs.load(networks.spec(folder, text)), project=folder)


def causes_and_texts(plan: Plan) -> dict[str, tuple[str, str]]:
    """Cause and what is said, of the failed cases of the first comparison."""
    engine = Engine(60.0)
    cases: dict[str, Case] = {case.id: case for case in plan.cases(plan.spec.comparisons[0])}
    job = jobs.judge(plan, next(iter(plan.spec.inputs)), cases.values(), 1)
    try:
        results = list(engine.run(job))
    finally:
        engine.close()
    by_case = {}
    for result in results:
        if result.outcome == "failed":
            diagnosis = diagnose(cases[result.id], result)
            text = "\n".join([diagnosis.what, *diagnosis.evidence])
            by_case[cases[result.id].name] = (diagnosis.cause, text)
    return by_case


def test_a_network_that_gives_something_else_each_time_is_nondeterministic(tmp_path: Path) -> None:
    cause, text = causes_and_texts(noisy(tmp_path, 1.0))["output:out0"]
    assert cause == "nondeterministic"
    assert "a second run on the same inputs gives another result" in text
    assert "two runs differ by scaled" in text


def test_noise_within_the_tolerance_is_no_failure(tmp_path: Path) -> None:
    assert causes_and_texts(noisy(tmp_path, 1e-6)) == {}


def cancelling(folder: Path) -> Plan:
    """A 3x3 convolution of 64 channels whose terms are a million times larger than their sum."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=12 1=12 2=64")
    sign = np.where(np.arange(64) % 2, 1.0, -1.0)[None, :, None, None]
    weights = 1e6 * sign * np.ones((16, 64, 3, 3)) + rng.normal(0, 1, (16, 64, 3, 3))
    params = f"0=16 1=3 4=1 5=1 6={weights.size}"
    x = net.layer("Convolution", "conv", [x], params=params, weights=[weights, np.zeros(16)])
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(folder / "net")
    text = (
        "inputs:\n  flat: {in0: {random: uniform, low: 1.0, high: 1.0001}}\ncompare: [cpu-vs-vulkan]\n"
    )
    return check.plan(specs.load(networks.spec(folder, text)))


def test_terms_that_cancel_in_fp32_are_nobodys_fault(tmp_path: Path) -> None:
    """Layer and output are off by no more than rounding explains, which no device does otherwise."""
    assert causes_and_texts(cancelling(tmp_path)) == {}


def test_a_sound_reference_is_not_blamed_for_a_fault_of_the_candidate(tmp_path: Path) -> None:
    networks.underflow(tmp_path)
    text = "inputs:\n  zeros: {in0: {constant: -1}}\ncompare: [fp16-vs-fp32-vulkan]\n"
    plan = check.plan(specs.load(networks.spec(tmp_path, text)))
    assert {cause for cause, _ in causes_and_texts(plan).values()} <= {
        "underflow",
        "nan",
        "storage-overflow",
    }
