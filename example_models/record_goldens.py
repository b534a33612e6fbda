"""Records what a PyTorch module makes of inputs, for `inputs:` and `expect:` of a spec.

    python record_goldens.py MODULE:BUILD FILE.npz INPUT.npy [INPUT.npy ...]

BUILD is a function without parameters, in the Python module MODULE, that returns the torch module with
its weights loaded. The inputs are what that takes, in its order, without the batch dimension. FILE.npz
will hold them and the outputs; the lines for the spec are printed. In a script of your own, call
`record(module, samples, path)` where the model is exported, as make_digits.py does.

Needs: pip install torch
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import nn


def record(module: nn.Module, samples: Mapping[str, Sequence[np.ndarray]], path: Path) -> None:
    """Write inputs and outputs to the .npz at `path` under SAMPLE.in0, SAMPLE.out0 and so on.

    The names of the blobs are pnnx's: inputs and outputs numbered in the module's order. The spec's
    lines are printed; `path` is to lie beside the spec.
    """
    arrays = {}
    for sample, inputs in samples.items():
        fed = {f"in{i}": np.asarray(x, np.float32) for i, x in enumerate(inputs)}
        made = {f"out{i}": y for i, y in enumerate(_run(module, list(fed.values())))}
        arrays |= {f"{sample}.{blob}": array for blob, array in (fed | made).items()}
        sources = _sources(path, sample, fed)
        print(f"  {sample}: {{{sources}, expect: {{{_sources(path, sample, made)}}}}}")
    np.savez(path, **arrays)


def _run(module: nn.Module, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs for one sample, as ncnn has them: without a batch dimension."""
    module = module.eval().float().cpu()
    with torch.no_grad():
        made = module(*(torch.from_numpy(x)[None] for x in inputs))
    return [y[0].numpy() for y in ([made] if isinstance(made, torch.Tensor) else made)]


def _sources(path: Path, sample: str, blobs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{blob}: {{file: {path.name}, key: {sample}.{blob}}}" for blob in blobs)


def main(builder: str, path: str, *inputs: str) -> None:
    sys.path.insert(0, "")
    name, _, build = builder.partition(":")
    module = getattr(import_module(name), build)()
    print("inputs:")
    record(module, {"recorded": [np.load(file) for file in inputs]}, Path(path))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
