"""The results of a sample as they are asked for, also by those who come after an interruption."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.engine import results as results_module
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.process import parsed
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.results import SampleResults, SharedSampleResults


class Interrupted(BaseException):
    """As Ctrl-C, or another plugin's time limit."""


def test_who_comes_after_an_interruption_has_the_rest_run() -> None:
    asked: list[list[str]] = []

    def run(waiting: Sequence[str]) -> Iterator[Result]:
        asked.append(list(waiting))
        for case_id in waiting:
            if case_id == "b" and len(asked) == 1:
                raise Interrupted
            yield Result(case_id, "passed")

    results = SampleResults(["a", "b", "c"], run)
    assert results.result("a").id == "a"
    with pytest.raises(Interrupted):
        results.result("b")
    assert [results.result(case_id).id for case_id in "cba"] == ["c", "b", "a"]
    assert asked == [["a", "b", "c"], ["b", "c"]]


def test_a_case_without_a_result_is_an_error() -> None:
    results = SampleResults(["a"], lambda _: iter(()))
    for _ in range(2):
        with pytest.raises(EngineError, match="no result for a"):
            results.result("a")


@pytest.mark.parametrize("name", ["conv_1", "größe", "畳み込み", "😀", "\udcff", "a\\ud83d"])
def test_names_come_back_as_they_were_sent(name: str) -> None:
    assert parsed(strict_json.line({"case": {"id": name}}).encode()) == {"case": {"id": name}}


def test_a_full_disk_is_one_error_for_who_shares_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results_module, "_append", full)
    path = tmp_path / "sample"
    passed = Result("a", "passed")
    shared = SharedSampleResults(["a"], lambda _: iter([passed]), path, Engine(60.0), lambda: False)
    with pytest.raises(EngineError, match=r"^cannot write the results .*sample.jsonl: No space left"):
        shared.result("a")
