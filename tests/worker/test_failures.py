"""What a failure tells of a refused layer; raised again for each case, it keeps none of its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb

import pytest
from graphs import CHAIN, network
from workers import job, planned
from written_graphs import fed

from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed, failed, given
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


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "Reshape r 1 1 in0 out0 0=64 1=4 12=0",
            "extract out0: -1, given [8, 4, 64], with 0=64 1=4 12=0",
        ),
        ("Noop n 1 1 in0 out0", "extract out0: -1, given [8, 4, 64]"),
    ],
)
def test_a_refusal_tells_shapes_and_parameters(line: str, told: str) -> None:
    layer = fed(line).layers[-1]
    refused = failed(Step("layer", "cpu fp32", 1, layer.name), "refused", "extract out0: -1")
    shown = given(refused, layer, {"in0": (8, 4, 64)})
    assert (shown.death.detail, shown.death.kind, shown.step) == (told, "refused", refused.step)
