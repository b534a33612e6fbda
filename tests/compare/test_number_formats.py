"""The limits of fp16 are numpy's."""

import numpy as np

from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_NORMAL, FP16_OVERFLOW, FP16_TINIEST


def test_from_where_on_fp16_has_inf_and_below_what_it_has_0() -> None:
    below = np.nextafter(np.float32(FP16_OVERFLOW), np.float32(0))
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(FP16_OVERFLOW).astype(np.float16))
    assert below.astype(np.float16) == FP16_MAX
    assert np.float16(FP16_TINIEST) != 0
    assert np.float16(FP16_TINIEST / 2) == 0


def test_the_limits_are_those_numpy_knows() -> None:
    limits = np.finfo(np.float16)
    assert limits.max == FP16_MAX
    assert limits.smallest_normal == FP16_NORMAL
    assert limits.smallest_subnormal == FP16_TINIEST
