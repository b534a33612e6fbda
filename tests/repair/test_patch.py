"""Masks as a patch: the lines that change, a diff that `git apply` takes, and the files."""

from __future__ import annotations

from pathlib import Path

import plans
import pytest

from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.repair.patch import make_patch, patched, stem_of_files, write_patch

pytestmark = pytest.mark.once

CONV, GELU = 2, 3


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plans.loaded(tmp_path, "masks: {conv_1: 64}\n")


def test_a_changed_line_has_the_bits_of_the_file_the_spec_and_the_fix(
    plan: Plan, tmp_path: Path
) -> None:
    patch = make_patch(plan, {CONV: 18}, tmp_path)
    assert patch.before == ("Convolution conv_1  1 1 left a 0=8 1=1 6=24 31=1",)
    assert patch.after == ("Convolution conv_1  1 1 left a 0=8 1=1 6=24 31=83",)


def test_the_patched_network_is_the_one_that_was_tried(plan: Plan, tmp_path: Path) -> None:
    """It has the spec's masks, which the diff leaves in the spec."""
    network = patched(plan.masked, {GELU: 18})
    assert network.masks == (0, 0, 65, 18, 0)
    patch = make_patch(plan, {GELU: 18}, tmp_path)
    assert patch.patched == network.text
    assert "31=65" not in patch.diff


def test_outside_of_a_repository_the_diff_is_for_the_root(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    diff = make_patch(plans.loaded(folder), {CONV: 18}, tmp_path).diff
    assert diff.startswith("--- a/models/net.param\n+++ b/models/net.param\n")


def test_files_lie_under_the_path_of_the_spec(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    plan = plans.loaded(folder)
    patch = make_patch(plan, {CONV: 18}, tmp_path)
    written = write_patch(patch, stem_of_files(plan, "shipped", tmp_path / "out", tmp_path)).written
    param, diff = (tmp_path / "out" / "models" / f"net.shipped.{end}" for end in ("param", "patch"))
    assert written == (str(param), str(diff))
    assert param.read_text("utf-8") == patch.patched
    assert diff.read_text("utf-8") == patch.diff


def test_a_model_on_another_drive_than_the_root_has_a_patch_for_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows knows no path from one drive to another."""

    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    plan = plans.loaded(tmp_path)
    monkeypatch.setattr("os.path.relpath", refuse)
    diff = make_patch(plan, {CONV: 18}, tmp_path).diff
    assert diff.startswith(f"--- a/{plan.spec.param.name}\n")
