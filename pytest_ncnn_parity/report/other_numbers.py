"""Says which outputs agree though they hold whole numbers that 16 bits have turned into others."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report.document.case import CaseRecord


def notes(cases: Iterable[CaseRecord]) -> list[str]:
    """Return a line for each such output, about the case in which most of its elements are others."""
    worst: dict[str, CaseRecord] = {}
    for case in cases:
        output = case["output"]
        if output is None or case["outcome"] != "passed" or not _count(case):
            continue
        if output not in worst or _count(case) > _count(worst[output]):
            worst[output] = case
    return [printable(_line(output, case)) for output, case in worst.items()]


def _count(case: CaseRecord) -> int:
    metrics = case["metrics"]
    return 0 if metrics is None else metrics.get("other_numbers", 0)


def _line(output: str, case: CaseRecord) -> str:
    metrics = case["metrics"]
    assert metrics is not None
    count = f"{_count(case)} of {metrics['total']}"
    where = f"in {case['comparison']} (sample {case['sample']})"
    return (
        f"output {output} holds whole numbers alone, and {count} are others {where}, off by up to "
        f"{float(metrics['max_abs']):.6g}: 16 bits do not have all of them. Where they are indices or "
        "words they are wrong, though as measurements they are within the tolerance: keep what computes "
        "and hands them on in fp32 by masks, and set a tolerance of atol 0.4"
    )
