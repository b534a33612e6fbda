"""Failures that concern many cases: which result tells them."""

from __future__ import annotations

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.reported import not_run, once_each, steps_told
from pytest_ncnn_parity.engine.steps import Death, Step

LOAD = Step("load", "vulkan fp16")
DEAD = Evidence(death=Death("crash", "killed by SIGSEGV", LOAD))


def outcomes(*results: Result) -> list[tuple[str, str]]:
    return [(result.id, result.outcome) for result in results]


def test_a_step_is_told_by_failures_alone() -> None:
    skipped = Result("b", "skipped", evidence=DEAD)
    stepless = Result("c", "failed", evidence=Evidence(death=Death("crash", "somewhere", None)))
    wrong = Result("d", "failed")
    assert steps_told([Result("a", "passed"), skipped, stepless, wrong]) == ()
    both = [Result(name, "failed", evidence=DEAD) for name in "ef"]
    assert steps_told([skipped, *both]) == (LOAD,)
    assert steps_told(both, known={"e"}) == (LOAD,)
    assert steps_told(both, known={"e", "f"}) == (), "they are expected to fail, so that nobody sees it"


def test_of_a_sample_that_could_not_be_run_the_first_case_says_why() -> None:
    first, *others = not_run(["a", "b", "c"], "no such file")
    assert (first.id, first.outcome, first.evidence.error) == ("a", "failed", "no such file")
    assert outcomes(*others) == [("b", "skipped"), ("c", "skipped")]
    assert "a says why" in str(others[1].reason)
    assert list(not_run([], "no such file")) == []


def test_the_first_result_of_a_case_counts() -> None:
    first, again = Result("a", "passed", reason="first"), Result("a", "passed", reason="again")
    assert list(once_each([first, again])) == [first]
    assert list(once_each([again, Result("b", "passed")], [first])) == [Result("b", "passed")]


def test_a_failure_that_only_a_repetition_tells_is_told_by_the_next_skip() -> None:
    """Two workers died, say; a third one judges all cases again, and cannot load the network."""
    again = [
        Result("a", "failed", evidence=DEAD),
        *(Result(name, "skipped", reason="so", evidence=DEAD) for name in "bd"),
        Result("alike", "skipped", reason="for a reason of its own"),
        *(Result(name, "skipped", reason="so", evidence=DEAD) for name in "ce"),
    ]
    found = list(once_each(again, [Result(name, "passed") for name in "abd"]))
    assert outcomes(*found) == [("alike", "skipped"), ("c", "failed"), ("e", "skipped")]
    assert (found[1].reason, found[1].evidence) == (None, DEAD)


def test_a_failure_that_has_been_told_is_not_told_again() -> None:
    again = [Result("a", "failed", evidence=DEAD), Result("b", "skipped", evidence=DEAD)]
    assert outcomes(*once_each(again, [Result("a", "failed", evidence=DEAD)])) == [("b", "skipped")]
    wrong = [Result("a", "failed"), Result("b", "skipped")]
    assert outcomes(*once_each(wrong, [Result("a", "passed")])) == [("b", "skipped")]
