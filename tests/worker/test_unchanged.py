"""Model files that change while they are tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networks
import pytest

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.engine.protocol import Judge, Model, NetSpec
from pytest_ncnn_parity.worker.networks.pool import Pool


@pytest.mark.parametrize("name", ["net.bin", "net.param"])
@pytest.mark.parametrize("becomes", ["shorter", "another", "gone"])
def test_a_file_that_changes_is_not_tested_on(becomes: str, name: str, tmp_path: Path) -> None:
    """Reference and candidate are not loaded at the same time, and would be two models."""
    networks.convolution(tmp_path)
    model, path = Model(str(tmp_path / "net.param"), str(tmp_path / "net.bin")), tmp_path / name
    job = Judge((model,), (NetSpec(0, "cpu", "fp32"),), 0, {}, 1)
    pool = Pool(lambda _: None)
    pool.prepare(job)
    pool.prepare(job)
    pool.graph(model)
    content = path.read_bytes()
    path.unlink()
    if becomes != "gone":
        path.write_bytes(content[: len(content) // 2] if becomes == "shorter" else content[::-1])
    said = f"{path} {'was removed' if becomes == 'gone' else 'has changed'} while it was tested"
    with pytest.raises(ParityError, match=said):
        pool.get(job, job.nets[0])
    with pytest.raises(ParityError, match=said):
        pool.prepare(job)
    if name == "net.param":  # ncnn does not read it again
        pool.prepare(replace(job, models=(replace(model, text="7767517\n1 1\nInput in 0 1 in0\n"),)))
