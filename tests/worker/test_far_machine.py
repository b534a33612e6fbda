"""A declared worker whose link is cut: what was running is to blame, and nothing if nothing was."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import networks
import numpy as np
import pytest

from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.far.machine import FarMachine
from pytest_ncnn_parity.worker.far.net import FarNet
from pytest_ncnn_parity.worker.networks.native import Fed, Wanted
from pytest_ncnn_parity.worker.values.blob import Blob

pytestmark = pytest.mark.once

PATIENCE_SECONDS = 30
INPUT = Blob.of(np.zeros((8, 24, 24), np.float32))


@pytest.fixture
def machine() -> Iterator[FarMachine]:
    """Another Python here."""
    worker = Worker("w", "python", (sys.executable,))
    one = FarMachine(worker, lambda _: None, lambda: None, lambda _: None, lambda _: None)
    yield one
    one.close()


@pytest.fixture
def load(machine: FarMachine, tmp_path: Path) -> Callable[[str], FarNet]:
    networks.convolution(tmp_path)
    model = Model(str(tmp_path / "net.param"), str(tmp_path / "net.bin"))
    graph = param.read(model.param)
    return lambda name: machine.load(
        Step("load", name), model, graph, {"use_vulkan_compute": False}, None
    )


def run(net: FarNet) -> tuple[int, ...]:
    blobs = net.read.blobs
    fed, wanted = Fed("in0", blobs.index("in0"), INPUT), Wanted(blobs[-1], len(blobs) - 1)
    (output,) = net.run(Step("network", "A"), [fed], [wanted])
    return output.shape


def cut(machine: FarMachine) -> None:
    assert machine._link is not None
    machine._link._process.kill()
    latest = time.monotonic() + PATIENCE_SECONDS
    while not machine._link.has_ended():
        assert time.monotonic() < latest, "the server goes on"
        time.sleep(0.01)


def test_a_link_that_is_cut_between_two_steps_is_no_step_s_fault(
    machine: FarMachine, load: Callable[[str], FarNet]
) -> None:
    first = load("first")
    shape = run(first)
    cut(machine)
    assert run(first) == shape
    cut(machine)
    second = load("second")
    assert run(second) == shape
    cut(machine)
    assert run(first) == shape, "which was not loaded again after the last restart"


def test_a_link_that_is_cut_in_loading_is_tried_again_in_the_next_job(
    machine: FarMachine, load: Callable[[str], FarNet]
) -> None:
    load("first")
    step = Step("load", "second")
    for kind, refused in (("worker", False), ("crash", True)):
        machine._dead[step] = Death(kind, "died", step)
        with pytest.raises(StepFailed):
            load("second")
        machine.forget_deaths()
        if refused:
            with pytest.raises(StepFailed):
                load("second")
        else:
            load("second")
