"""`git apply` takes the patches."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import plans
import pytest
from conftest import SHARED

from pytest_ncnn_parity.network.param import parse, read
from pytest_ncnn_parity.repair.patch import make_patch

pytestmark = pytest.mark.once

CHAIN = "7767517\n3 3\nInput in0 0 1 in0\nReLU a 1 1 in0 x 31=1\nReLU b 1 1 x y\n"
CONV, GELU = 2, 3


def apply(patch: str, name: str, before: bytes, folder: Path) -> bytes:
    """What `git apply` makes of the file `name`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before)
    subprocess.run(
        ["git", "-c", "core.autocrlf=false", "apply", "-"],
        cwd=folder,
        input=patch.encode(),
        check=True,
    )
    return path.read_bytes()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("masks", [{"in0": 1}, {"a": 18}, {"b": 18}, {"a": 2, "b": 1}])
@pytest.mark.parametrize("name", ["net.param", "models/my net.param", "modèle.param"])
def test_git_applies_the_patch(
    name: str, masks: dict[str, int], end: str, newline: str, tmp_path: Path
) -> None:
    text = (CHAIN.rstrip("\n") + end).replace("\n", newline)
    before = parse(text, name)
    after = before.with_masks(masks)
    patched = apply(before.diff(after, name), name, text.encode(), tmp_path)
    assert patched == after.text.encode()


def test_git_applies_the_diff_from_the_top_of_the_repository(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    plan = plans.loaded(folder)
    (folder / "net.param").write_text(plans.NETWORK, "utf-8")
    patch = make_patch(plan, {CONV: 18, GELU: 1}, folder)
    shutil.rmtree(tmp_path / ".git")
    (tmp_path / "fix.patch").write_text(patch.diff, "utf-8")
    subprocess.run(["git", "apply", "fix.patch"], cwd=tmp_path, check=True)
    lines = (folder / "net.param").read_text("utf-8").splitlines()
    assert [line for line in lines if line in patch.after] == list(patch.after)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real models lie in ../shared/models")
@pytest.mark.parametrize("path", sorted(SHARED.rglob("*.param")), ids=lambda p: Path(str(p)).stem)
def test_a_real_model_parses_and_takes_a_patch(path: Path, tmp_path: Path) -> None:
    before = read(str(path))
    computing = [layer for layer in before.layers if layer.type not in ("Input", "Split")]
    masks = {layer.name: 18 for layer in computing[::3]}
    after = before.with_masks(masks)
    assert before.text.encode() == path.read_bytes()
    assert {r.name for r in after.layers if r.mask & 18 == 18} >= set(masks)
    patched = apply(before.diff(after, "m.param"), "m.param", path.read_bytes(), tmp_path)
    assert patched == after.text.encode()
