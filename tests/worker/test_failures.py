"""A failure that is raised again for each layer and case keeps none of the frames it went through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb

import pytest
from graphs import CHAIN, network
from workers import job, planned

from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed, failed
from pytest_ncnn_parity.worker.networks.pool import Pool
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import Chain


def frames(failing: Callable[[], object]) -> int:
    with pytest.raises(StepFailed) as raised:
        failing()
    return len(list(walk_tb(raised.value.__traceback__)))


def test_a_network_that_did_not_load(tmp_path: Path) -> None:
    given = job(planned(tmp_path, "[cpu-vs-vulkan]"))
    given = replace(given, models=(replace(given.models[0], bin=str(tmp_path / "none.bin")),))
    pool = Pool(lambda _: None)
    pool.prepare(given)

    def load() -> object:
        return pool.get(given, given.nets[0])

    first = frames(load)
    assert [frames(load) for _ in range(3)] == [first] * 3


def test_a_value_that_is_lost_to_all_layers_behind() -> None:
    def kept(*lines: str) -> int:
        chain = Chain(network(*lines).layers, {}, run)
        assert len([layer for layer, made in chain.steps() if not made]) == len(lines) + 1
        return len(list(walk_tb(chain.lost["b1"].__traceback__)))

    def run(layer: Layer, _: Made) -> Made:
        raise failed(Step("layer", layer=layer.number), "refused", "no")

    assert kept(*CHAIN) <= kept(CHAIN[0])
