"""Counting cases, and what is said of a run that compared nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ncnn_parity.report import counts

SKIPPED = {"outcome": "skipped", "known": False, "message": "no device"}
PASSED = {"outcome": "passed", "known": False, "message": ""}
KNOWN = {"outcome": "skipped", "known": True, "message": "see issue 7"}


def document(*cases: dict[str, Any], **more: Any) -> Any:
    ended = {"errors": [], "stopped": None, "selected": len(cases), "judged": len(cases)}
    whole = {"models": [], **ended, **more}
    return {**whole, "models": [{"spec": "a", "cases": list(cases)}] if cases else []}


def test_known_failures_are_counted_by_themselves() -> None:
    failed = {**PASSED, "outcome": "failed"}
    numbers = counts.counted([PASSED, failed, KNOWN, SKIPPED, SKIPPED])
    assert numbers == {"passed": 1, "failed": 1, "known": 1, "skipped": 2}
    words = counts.in_words([PASSED, failed, KNOWN, SKIPPED, SKIPPED])
    assert words == "1 failed, 1 passed, 1 known failure, 2 skipped"
    assert counts.in_words([KNOWN, KNOWN]) == "2 known failures"


def test_every_case_skipped() -> None:
    empty = document(SKIPPED, {**SKIPPED, "message": "other"}, SKIPPED)
    assert "every case was skipped (3): no device (2 of 3 cases)" in counts.nothing_compared(
        empty, False, ["."]
    )
    assert list(counts.uncompared(empty)) == [("a", "no device (2 of 3 cases)")]


@pytest.mark.parametrize("other", [PASSED, KNOWN], ids=["passed", "known"])
def test_something_was_compared(other: dict[str, Any]) -> None:
    some = document(SKIPPED, other)
    assert counts.nothing_compared(some, True, ["."]) == ""
    assert list(counts.uncompared(some)) == []


@pytest.mark.parametrize("more", [{"judged": 0}, {"errors": [{"spec": "b"}]}], ids=str)
def test_what_went_wrong_otherwise_is_another_matter(more: dict[str, Any]) -> None:
    assert counts.nothing_compared(document(SKIPPED, **more), True, ["."]) == ""


def test_no_case_is_news_only_where_the_gate_was_asked_for() -> None:
    assert "in models, more" in counts.nothing_compared(document(), True, ["models", "more"])
    assert counts.nothing_compared(document(), False, ["models"]) == ""


def test_verdicts_from_the_cache_are_counted_with_the_oldest() -> None:
    one = {**PASSED, "cached": "2026-11-26T02:30:00+00:00"}
    other = {**PASSED, "cached": "2026-10-01T12:00:00+00:00"}
    assert counts.from_cache([PASSED, {**PASSED, "cached": None}]) == counts.from_cache([]) == ""
    assert counts.from_cache([one, other, PASSED]).startswith("2 of 3 verdicts from the cache")
    assert counts.from_cache([one, other]).startswith("all verdicts from the cache")
    assert "2026-10-01 12:00:00 UTC" in counts.from_cache([one, other])
