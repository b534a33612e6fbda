"""The kinds of networks that the benchmarks of faults are made of, and how one is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import planted
import tolerated
from blocks import Trunk

SPEC = """\
model: {{param: {name}.param, bin: {name}.bin}}
inputs:
  first: {{in0: {{random: normal, seed: {first}}}{words}}}
  second: {{in0: {{random: normal, seed: {second}}}{words}}}
compare: [{compare}]
"""
# what is planted is a matter of fp16: in fp32 every device is right, and would only cost time
FP16 = "fp16-vs-fp32-vulkan"
ALL = "cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range"


@dataclass(frozen=True)
class Written:
    """A written network; `blamed` are the layers that must be red in fp16-vs-fp32-vulkan.

    Where "output" is among them, an output must be red.
    """

    kind: str
    seed: int
    stem: Path
    blamed: frozenset[str]


Build = Callable[[Trunk], set[str]]

FAULTS: Mapping[str, Build] = MappingProxyType(
    {
        plant.__name__: plant
        for plant in (
            planted.storage, planted.demodulation, planted.cancelling, planted.mean, planted.softmax,
            planted.underflow, planted.two, planted.branch, planted.healthy,
            planted.winograd, planted.int8,
            tolerated.mixed_units, tolerated.saturating, tolerated.noisy, tolerated.words,
            tolerated.drifting, tolerated.causal, tolerated.noisy_sum,
        )  # new ones last, for a kind's place is a part of its seeds
    }
)  # fmt: skip

# By the rule of judging that keeps it green, under other names than the faults have. All are judged
# in fp32, in fp16 and for fp16's range.
CONTROLS: Mapping[str, Build] = MappingProxyType(
    {
        "noise floor": partial(tolerated.noisy, hot=False),
        "natural scale": tolerated.probabilities,
        "mixed units": partial(tolerated.mixed_units, hot=False),
        "edges": tolerated.sharp_map,
        "saturation: masks": partial(tolerated.saturating, hot=False),
        "saturation: bounds": tolerated.bounded,
        "detections": tolerated.detections,
        "integers": partial(tolerated.words, hot=False),
        "winograd transforms": partial(planted.winograd, hot=False),
        "int8 chains": partial(planted.int8, hot=False),
        "gates": tolerated.gates,
    }
)
ENDS = (
    "mixed_units",
    "drifting",
    "mixed units",
    "natural scale",
    "edges",
    "saturation: bounds",
    "detections",
    "gates",
)


def write(folder: Path, kind: str, seed: int) -> Written:
    """Write KIND_SEED.param, .bin and .parity.yaml into `folder`."""
    control = kind in CONTROLS
    build = (CONTROLS if control else FAULTS)[kind]
    stem = Path(folder) / f"{kind.replace(': ', '_').replace(' ', '_')}_{seed}"
    place = list(CONTROLS if control else FAULTS).index(kind) + (500 if control else 0)
    net = Trunk(np.random.RandomState(1000 * place + seed))
    net.grow(int(net.rng.randint(1, 6)))
    blamed = build(net)
    if kind not in ENDS:  # those are what a network ends in
        net.grow(int(net.rng.randint(1, 5)))
        net.head()
    net.write(stem)
    text = SPEC.format(
        name=stem.name,
        first=2 * seed + 1,
        second=2 * seed + 2,
        words=net.words_source,
        compare=ALL if control else FP16,
    )
    stem.with_suffix(".parity.yaml").write_text(text, encoding="utf-8")
    return Written(kind, seed, stem, frozenset(set() if control else blamed))
