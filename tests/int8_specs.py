"""Specs of a model NAME and of NAME-int8, and what is red in a run of several."""

from __future__ import annotations

from conftest import Run

SPEC = """\
model: {{param: {0}.param, bin: {0}.bin}}
inputs: {{noise: {{in0: {{file: noise.npy}}}}}}
compare:
  - name: int8
    candidate: {{device: cpu, model: {{param: {0}-int8.param, bin: {0}-int8.bin}}}}
"""


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
