"""Digests of files and texts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pytest_ncnn_parity.base import digests


def test_a_file_is_read_again_where_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    for raw in (b"", b"one", b"other", bytes(3 << 20)):
        path.unlink(missing_ok=True)
        path.write_bytes(raw)
        assert digests.of_file(path) == digests.of_file(path) == hashlib.sha256(raw).hexdigest()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        digests.of_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.bin")
    with pytest.raises(OSError, match="is not a file"):
        digests.of_file(tmp_path / "net.bin")


def test_texts_are_distinguished_by_their_order_and_where_each_ends() -> None:
    various = [[], [""], ["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["a\0b"], ["\udcff"]]
    assert len({digests.of_texts(texts) for texts in various}) == len(various)
