"""A whole gate over a real network, and the script somebody would write by hand in its place."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import decoder
from process import Command

# A script that is hobbled makes a gate look good: give it what a careful user would find out.
QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
BY_HAND = Path(__file__).with_name("by_hand.py")


@dataclass(frozen=True)
class Network:
    """A network of the models folder, its input blob, and the range values are drawn from."""

    name: str
    blob: str
    shape: tuple[int, int, int]  # c, h, w
    low: float
    high: float
    made: bool = False  # from a seed, where it is measured


NETWORKS = (
    Network("nanodet-m", "input.1", (3, 320, 320), -2.1, 2.6),
    Network("cunet_noise0_model", "Input1", (3, 156, 156), 0.0, 1.0),
    Network("upconv7_scale2.0x_model", "Input1", (3, 128, 128), 0.0, 1.0),
    Network(decoder.NAME, "in0", (3, decoder.SIDE, decoder.SIDE), 0.0, 1.0, made=True),
)

SPEC = """\
model: {{param: {param}, bin: {bin}}}
inputs:
  uniform: {{"{blob}": {{random: uniform, low: {low}, high: {high}, shape: {shape}, seed: 0}}}}
compare: [cpu-vs-vulkan, fp16-vs-fp32]
"""


def files(network: Network, models: Path) -> tuple[Path, ...]:
    return tuple((models / f"{network.name}{suffix}").absolute() for suffix in (".param", ".bin"))


def ours(network: Network, models: Path, folder: Path) -> Command:
    """`pytest --ncnn-parity` over a spec of its own."""
    param, weights = files(network, models)
    text = SPEC.format(
        param=param,
        bin=weights,
        blob=network.blob,
        low=network.low,
        high=network.high,
        shape=list(network.shape),
    )
    spec = folder / f"{network.name}.parity.yaml"
    spec.write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    args = [sys.executable, "-m", "pytest", "--ncnn-parity", "--ncnn-parity-allow-outside", spec.name]
    return Command(args, folder, " passed")


def theirs(network: Network, models: Path, folder: Path, as_typed: bool) -> Command:
    """The script; unless `as_typed`, without spinning threads, which cost it up to five times."""
    numbers = [*network.shape, network.low, network.high]
    args = [sys.executable, BY_HAND, *files(network, models), network.blob, *numbers]
    env = dict(os.environ) if as_typed else {**os.environ, **QUIET}
    return Command(list(map(str, args)), folder, "agree", env)
