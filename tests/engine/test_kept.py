"""Which results may replace those of a later run."""

from __future__ import annotations

import pytest

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.kept import may_be_kept
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death


@pytest.mark.parametrize(
    ("outcome", "evidence", "kept"),
    [
        ("passed", Evidence(), True),
        ("passed", Evidence(noise=3.0, threshold_decides=True), True),
        ("passed", Evidence(dropped=("use_bf16_storage",)), False),  # red with require-vulkan
        ("failed", Evidence(), False),
        ("failed", Evidence(death=Death("crash", "killed by SIGSEGV")), False),
        ("failed", Evidence(lasting=True), False),
        ("skipped", Evidence(lasting=True), True),
        ("skipped", Evidence(), False),
        ("skipped", Evidence(no_vulkan=True), False),
        ("skipped", Evidence(origin="conv_1"), False),
        ("skipped", Evidence(death=Death("misfit", "upstream")), False),
    ],
)
def test_what_may_be_kept(outcome: str, evidence: Evidence, kept: bool) -> None:
    assert may_be_kept(Result("a::b", outcome, evidence=evidence)) is kept
