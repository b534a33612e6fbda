"""Specs of a model NAME and of NAME-int8, and what is red in a run of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from calibrated import Model, Wrong
from conftest import Run

SPEC = """\
model: {{param: {0}.param, bin: {0}.bin}}
inputs: {{noise: {{in0: {{file: noise.npy}}}}}}
compare:
  - name: int8
    candidate: {{device: cpu, model: {{param: {0}-int8.param, bin: {0}-int8.bin}}}}
"""


def write_int8(
    folder: Path, name: str, model: Model, inputs: list[np.ndarray], wrong: dict[str, Wrong]
) -> None:
    """The files of `model` in int8, calibrated on `inputs`, and a spec that feeds the first of them."""
    model.write_int8(folder / f"{name}-int8", model.calibrated(inputs), wrong)
    np.save(folder / "noise.npy", inputs[0].astype(np.float32))
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name), "utf-8")


def red(run: Run) -> dict[str, list[tuple[str, str]]]:
    """By spec, the red layers and what their headlines blame."""
    return {
        model["spec"].partition(".")[0]: [
            (case["layer"], case["headline"].rpartition("; ")[2])
            for case in model["cases"]
            if case["layer"] and case["outcome"] == "failed"
        ]
        for model in run.report["models"]
    }
