"""The samples of a spec follow each other without a pause, and nothing of that is seen in a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import networks
import psutil
import pytest

from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.protocol import Job, TakeFingerprint
from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec as specs

pytestmark = pytest.mark.once

SAMPLES = """
compare: [cpu-vs-vulkan, fp16-range]
inputs:
  first: {in0: {constant: FIRST}}
  second: {in0: {random: uniform, seed: 1}}
  third: {in0: {random: uniform, seed: 2}}
"""
MOMENTS = 1000  # of 0.01 s, after which a worker has not answered


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that were sent ahead of the question for their results."""
    sent: list[Job] = []
    begin = Engine.begin

    def noting(engine: Engine, job: Job) -> None:
        sent.append(job)
        begin(engine, job)

    monkeypatch.setattr(Engine, "begin", noting)
    return sent


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., SpecRun]]:
    made: list[SpecRun] = []
    networks.chain(tmp_path)

    def make(first: str = "0.5", cores: int = 2) -> SpecRun:
        plan = check.plan(specs.load(networks.spec(tmp_path, SAMPLES.replace("FIRST", first))))
        cases = [case for one in plan.spec.comparisons for case in plan.cases(one)]
        selected = dict.fromkeys(plan.spec.inputs, cases)
        made.append(SpecRun(plan, Settings(timeout=60.0, cores=cores), selected))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until_known(run: SpecRun, sample: str) -> None:
    """Report the cases of `sample` as the gate does: the first is waited for, the others arrive."""
    first, *others = run.selected[sample]
    run.result(sample, first)
    for case in others:
        for _ in range(MOMENTS):
            if run.arrived(sample, case) is not None:
                break
            time.sleep(0.01)
        else:
            raise AssertionError(f"no result for {case.id}")


def until_sent(run: SpecRun, sample: str, sent: list[Job], count: int = 1) -> None:
    """Wait for the end of the job of `sample`, of which each report that follows takes note."""
    for _ in range(MOMENTS):
        run.arrived(sample, run.selected[sample][-1])
        if len(sent) == count:
            return
        time.sleep(0.01)
    raise AssertionError("the next job was not sent")


@pytest.mark.parametrize("cores", [1, 2])
def test_the_next_sample_is_judged_while_the_last_one_is_reported(
    run: Callable[..., SpecRun], sent: list[Job], cores: int
) -> None:
    ahead = run(cores=cores)
    until_known(ahead, "first")
    until_sent(ahead, "first", sent)
    until_known(ahead, "second")
    until_sent(ahead, "second", sent, count=2)
    assert [job.inputs for job in sent] == [
        jobs.judge(ahead.plan, sample, [], cores).inputs for sample in ("second", "third")
    ]
    assert [job.last for job in sent] == [False, True]
    assert [job.threads for job in sent] == [1, 1]  # a small network is slower with more

    one_by_one = run(cores=cores)
    del sent[:]
    for sample in one_by_one.selected:
        assert ahead.results(sample) == one_by_one.results(sample)
    assert sent == []  # who waits for a whole sample wants nothing else meanwhile


@pytest.mark.parametrize("cores", [1, 2])
def test_after_a_failure_no_sample_is_sent_ahead(
    run: Callable[..., SpecRun], sent: list[Job], cores: int
) -> None:
    red = run(first="7.0e+4", cores=cores)
    outcomes = set()
    for case in red.selected["first"]:
        outcomes.add(red.result("first", case).outcome)
        red.arrived("first", case)
    assert "failed" in outcomes
    # where two workers find room, they run the reference at the same time
    assert list(map(type, sent)) == [TakeFingerprint] * (cores - 1)


def test_a_question_waits_until_the_sample_that_was_sent_is_judged(
    run: Callable[..., SpecRun], sent: list[Job]
) -> None:
    asked = run()
    until_known(asked, "first")
    until_sent(asked, "first", sent)
    (itself,) = asked.judge("third", asked.selected["third"][:1])
    assert itself.outcome == "passed"
    assert itself.id in asked.results("third")
    assert {one.outcome for one in asked.results("second").values()} == {"passed"}


def test_any_sample_may_be_asked_for_next(run: Callable[..., SpecRun], sent: list[Job]) -> None:
    asked = run()
    until_known(asked, "first")
    until_sent(asked, "first", sent)
    third, second = asked.results("third"), asked.results("second")
    other = run()
    assert (second, third) == (other.results("second"), other.results("third"))


def test_a_worker_with_a_job_that_nobody_asks_for_is_ended(
    run: Callable[..., SpecRun], sent: list[Job]
) -> None:
    left = run()
    until_known(left, "first")
    until_sent(left, "first", sent)
    worker = psutil.Process(left._engine.pid)
    left.close()
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_worker_that_died_with_the_next_job_is_replaced(
    run: Callable[..., SpecRun], sent: list[Job]
) -> None:
    killed = run()
    until_known(killed, "first")
    until_sent(killed, "first", sent)
    psutil.Process(killed._engine.pid).kill()
    assert killed.results("second") == run().results("second")
