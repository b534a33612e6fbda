"""A power of e that overflows inside a kernel of the CPU, and what is no fault of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from written_graphs import fed

from pytest_ncnn_parity.worker.exponentials import overflow
from pytest_ncnn_parity.worker.values.blob import Blob


@pytest.mark.parametrize(
    ("operator", "read", "made", "at_fault"),
    [
        ("GLU", "-100", "nan", True),
        ("GLU", "-80", "0", False),
        ("GLU", "nan", "nan", False),
        ("Softplus", "300", "inf", True),
        ("Softplus", "inf", "inf", False),
        ("Softplus", "80", "80", False),
        ("Reduction 0=10 1=1", "300", "inf", True),
        ("Reduction 0=0 1=1", "3e38", "inf", False),
        ("Exp", "300", "inf", False),
    ],
)
def test_only_nan_or_inf_of_a_function_that_is_finite_is_the_kernels_fault(
    operator: str, read: str, made: str, at_fault: bool
) -> None:
    kind, _, params = operator.partition(" ")
    layer = fed(f"{kind} layer 1 1 in0 y {params}").layers[1]
    values = {"in0": Blob.of(np.full(8, float(read), np.float32))}
    outputs = {"y": Blob.of(np.full(4, float(made), np.float32))}
    assert overflow(layer, values, outputs) is at_fault
