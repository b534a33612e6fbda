"""The names of the causes, and those that are treated alike. `causes` says what each one means."""

from __future__ import annotations

from typing import Literal

CauseName = Literal[
    "storage-overflow",
    "accumulator-overflow",
    "winograd-overflow",
    "headroom",
    "underflow",
    "reference",
    "nondeterministic",
    "nan",
    "inf",
    "precision",
    "device",
    "model",
    "quantization",
    "unsafe-mask",
    "crash",
    "timeout",
    "worker",
    "shader",
    "memory",
    "load",
    "shape",
    "conversion",
]

# what is wrong with other files on the CPU as well, so that no device has a part in it
OF_THE_FILES: frozenset[CauseName] = frozenset({"model", "quantization"})
