"""How errors suggest what was meant."""

from __future__ import annotations

from pytest_ncnn_parity.base.errors import guess


def test_a_name_in_other_case_is_what_was_meant() -> None:
    names = ["HG.ncnn.param", "mlp.ncnn.param"]
    assert guess("MLP.ncnn.param", names) == "; did you mean 'mlp.ncnn.param'"
    assert guess("mlq.ncnn.param", names) == "; did you mean 'mlp.ncnn.param'"
    assert guess("unlike", names) == ""
