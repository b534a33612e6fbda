"""The docs against the code: nothing is left out, and what they point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from constructs.table import markdown

from pytest_ncnn_parity import options
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.diagnose.causes import CAUSES, RULES
from pytest_ncnn_parity.spec import spec

README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(
    [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")),
    ]
)


def test_the_readme_tells_every_option_key_and_comparison() -> None:
    table = README.partition("## Options")[2]
    assert [o.flag for o in options.TABLE.values() if f"`{o.flag}" not in table] == []
    keys = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert keys is not None
    assert set(re.findall(r"^(\w+):", keys[1], re.MULTILINE)) == {
        field.alias or name for name, field in spec.Spec.model_fields.items()
    }
    assert [name for name in comparisons.BUILT_IN if f"`{name}`" not in README] == []


def test_the_readme_has_the_table_of_causes() -> None:
    section = README.partition("## Causes")[2].partition("## Masks")[0]
    rows = [f"| `{cause.name}` | {cause.meaning} | {cause.remedy} |" for cause in CAUSES]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows


def test_every_rule_has_its_cause_in_the_table() -> None:
    assert {name for name, _ in RULES} == {cause.name for cause in CAUSES}


def test_the_page_of_constructs_has_the_table_that_is_tested() -> None:
    """`python -m constructs.table` in tests/, with example_models/ on the path, writes the rows."""
    page = (ROOT / "docs" / "constructs.md").read_text("utf-8")
    shown = [line for line in page.splitlines() if line.startswith("|")]
    assert shown[2:] == list(markdown())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_at_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [one for one in links if "://" not in one and not (page.parent / one).exists()]
    assert missing == []
    file = ""
    for name, test in re.findall(r"(test_\w+\.py|…)(?:::(test_\w+))?", text):
        file = file if name == "…" else next((ROOT / "tests").rglob(name)).read_text("utf-8")
        assert not test or f"def {test}(" in file, f"{name}::{test}"


def test_the_map_has_every_folder_and_every_module_beside_them() -> None:
    package = ROOT / "pytest_ncnn_parity"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    page = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
    table = page.partition("## Where everything is")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([\w./]+)` \|", table, re.MULTILINE))
    assert named == folders | modules
