"""Answers that xdist's workers share: one computes each, and a folder that is full is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ncnn_parity.engine.answers import Answers
from pytest_ncnn_parity.engine.process import EngineError

pytestmark = pytest.mark.once


def answers(share: Path) -> Answers:
    return Answers("net.parity.yaml", share, lambda: False)


def test_one_process_computes_an_answer_for_all(tmp_path: Path) -> None:
    first, second = answers(tmp_path), answers(tmp_path)
    assert first.once("masks", "", list[int], lambda: [3]) == [3]
    assert second.once("masks", "", list[int], lambda: pytest.fail("computed again")) == [3]


def test_a_folder_that_cannot_be_written_is_an_error_of_the_engine(tmp_path: Path) -> None:
    one = answers(tmp_path)
    one.path("masks", "").with_suffix(".new").mkdir()
    with pytest.raises(EngineError, match=r"cannot write an answer .*: Is a directory"):
        one.once("masks", "", list[int], lambda: [3])
    assert one.once("masks", "", list[int], lambda: [3]) is None
