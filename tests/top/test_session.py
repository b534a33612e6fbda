"""What cases share: one run a spec, kept while a case waits for it, and what is said but once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import plans
import pytest
from given_options import options

from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.session import Session, session


def started(folder: Path, **typed: object) -> Session:
    return session(options(folder, **typed), folder, lambda _: None, processes=1, share=None)


def plan(folder: Path) -> Plan:
    folder.mkdir()
    return plans.loaded(folder)


def test_a_run_is_kept_until_none_of_its_cases_waits(tmp_path: Path) -> None:
    one, second, third = (plan(tmp_path / name) for name in ("one", "second", "third"))
    case, *_ = one.cases(one.spec.comparisons[0])
    shared = started(tmp_path)
    shared.select(one, "noise", case)
    run = shared.run(one)
    assert run.selected == {"noise": [case]}
    shared.run(second)
    assert shared.run(one) is run
    shared.concluded(one)
    shared.run(third)
    assert shared.run(one) is not run


@pytest.mark.parametrize("limited", [False, True])
def test_who_waits_tries_each_sample_once_and_none_where_cases_have_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    one, second = (plan(tmp_path / name) for name in ("one", "second"))
    tried: list[tuple[str, str]] = []
    monkeypatch.setattr(
        SpecRun, "run_if_free", lambda run, sample: bool(tried.append((run.plan.name, sample)))
    )
    shared = started(tmp_path)
    samples = [(one, "noise"), (one, "flat"), (second, "flat")]
    for of, sample in samples:
        shared.select(of, sample, of.cases(of.spec.comparisons[0])[0])
    shared.cases_have_limits = limited
    meanwhile = shared.run(one).meanwhile
    assert (meanwhile(), meanwhile()) == (False, False)
    assert tried == ([] if limited else [(of.name, sample) for of, sample in samples])


def test_news_are_news_once(tmp_path: Path) -> None:
    shared = started(tmp_path)
    assert [shared.news(key) for key in ("a", ("a", 1), "a", ("a", 1))] == [True, True, False, False]


@pytest.mark.parametrize(("error", "is_lost"), [(KeyboardInterrupt, False), (OSError, True)])
def test_news_of_a_verdict_that_is_interrupted_are_told_by_the_next(
    tmp_path: Path, error: type[BaseException], is_lost: bool
) -> None:
    """An error is reported by its case, and would come again with each."""
    shared = started(tmp_path)
    with shared.telling():
        assert shared.news("first")
    with suppress(error), shared.telling():
        assert [shared.news(key) for key in ("first", "second")] == [False, True]
        raise error
    with shared.telling():
        assert [shared.news(key) for key in ("first", "second")] == [False, not is_lost]


def test_what_the_options_ask_for(tmp_path: Path) -> None:
    usual = started(tmp_path)
    assert usual.fix is not None
    assert (usual.fix.write, usual.root, usual.repro) == (False, tmp_path, None)
    other = started(tmp_path, fix="off", allow_outside=True, repro="faults", require_vulkan=True)
    assert (other.fix, other.root) == (None, None)
    assert (other.repro, other.require_vulkan) == (tmp_path / "called" / "faults", True)


def test_processes_share_the_cores(tmp_path: Path) -> None:
    alone, crowded = (
        session(options(tmp_path), tmp_path, lambda _: None, processes, tmp_path).settings.cores
        for processes in (1, 10_000)
    )
    assert alone >= crowded == 1


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (3, 3), (16, 4)])
def test_a_network_gets_no_more_threads_than_are_useful(cores: int, threads: int) -> None:
    assert Settings(timeout=1.0, cores=cores).threads == threads


def test_the_first_interruption_of_a_sample_is_one_among_all_processes(tmp_path: Path) -> None:
    one = plan(tmp_path / "one")
    alone = started(tmp_path)
    assert [alone.interrupt(one, sample) for sample in "aab"] == [True, False, True]
    assert alone.was_interrupted(one, "a")
    assert not alone.was_interrupted(one, "c")
    gw0, gw1 = (
        session(options(tmp_path), tmp_path, lambda _: None, processes=2, share=tmp_path) for _ in "01"
    )
    assert [gw0.interrupt(one, "a"), gw1.interrupt(one, "a"), gw1.interrupt(one, "b")] == [
        *(True, False, True)
    ]
    assert gw1.was_interrupted(one, "a")
