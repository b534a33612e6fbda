"""How report files are written: whole or not at all, and for a small part of a run's time."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.base import write_files
from pytest_ncnn_parity.report import document, writer


def write_json(report: Any, path: Path) -> None:
    writer.Target("--ncnn-parity-json", path, document.render).write(report)


def test_two_runs_that_write_one_file_never_tear_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    documents = [{"run": run, "cases": [run] * 20_000} for run in (1, 2)]
    threads = [
        threading.Thread(target=lambda d=one: [write_json(d, path) for _ in range(20)])
        for one in documents
    ]
    write_json(documents[0], path)
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads) or not seen:
        document = json.loads(path.read_text("utf-8"))
        assert set(document["cases"]) == {document["run"]}
        seen += 1
    for thread in threads:
        thread.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_link_is_followed_and_a_device_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_files.write("text", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text("utf-8") == "text"
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            write_files.write("text", place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "pipe", "real"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json({"old": True}, path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"new": float("nan")}, path)
    with pytest.raises(UnicodeEncodeError):
        write_files.write("\ud800", path)
    assert json.loads(path.read_text("utf-8")) == {"old": True}
    assert len(list(tmp_path.iterdir())) == 1


def test_names_that_are_no_unicode_stay_exact(tmp_path: Path) -> None:
    write_json({"layer": "a\udcff\x1b"}, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == {"layer": "a\udcff\x1b"}


@pytest.mark.parametrize(("cost", "all_written"), [(0.005, True), (2.0, False)])
def test_checkpoints_cost_a_small_share_of_a_run(tmp_path: Path, cost: float, all_written: bool) -> None:
    """200 specs of a second each: each is written where that is cheap."""
    now, written = 0.0, 0

    def render(_: object) -> str:
        nonlocal now, written
        written += 1
        now += cost
        return ""

    files = writer.ReportFiles([writer.Target("--x", tmp_path / "report", render)], lambda: now)
    for _ in range(200):
        now += 1.0
        files.checkpoint(dict)
    assert (written == 200) is all_written
    spent = written * cost
    assert spent <= writer.GRACE_SECONDS + writer.SHARE * now + cost
    if not all_written:
        assert spent > writer.SHARE * 200 / 2
