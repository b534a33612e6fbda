"""The docs against the code: nothing is left out, and what they point at is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

from pytest_ncnn_parity import options
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.spec import spec

README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])


def test_the_readme_tells_every_option_key_and_comparison() -> None:
    table = README.partition("## Options")[2]
    assert [o.flag for o in options.TABLE.values() if f"`{o.flag}" not in table] == []
    keys = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert keys is not None
    assert set(re.findall(r"^(\w+):", keys[1], re.MULTILINE)) == {
        field.alias or name for name, field in spec.Spec.model_fields.items()
    }
    assert [name for name in comparisons.BUILT_IN if f"`{name}`" not in README] == []


def test_the_readme_tells_every_cause() -> None:
    causes: set[str] = set()
    for name in ("diagnose.py", "symptoms.py"):
        tree = ast.parse((ROOT / "pytest_ncnn_parity" / name).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Diagnosis":
                first = node.args[0]
                causes.update(
                    leaf.value
                    for leaf in ast.walk(first)
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
                )
    assert len(causes) > 8
    told = README.partition("## Causes")[2].partition("## Masks")[0]
    assert [cause for cause in sorted(causes) if f"`{cause}`" not in told] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_at_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [one for one in links if "://" not in one and not (page.parent / one).exists()]
    assert missing == []
    file = ""
    for name, test in re.findall(r"(test_\w+\.py|…)(?:::(test_\w+))?", text):
        file = file if name == "…" else (ROOT / "tests" / name).read_text("utf-8")
        assert not test or f"def {test}(" in file, f"{name}::{test}"
