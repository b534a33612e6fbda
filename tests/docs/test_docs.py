"""The docs against the code: nothing is left out, and what they point at is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from conftest import PACKAGE, ROOT
from constructs.table import markdown

from pytest_ncnn_parity import options
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.diagnose.cause_names import CauseName
from pytest_ncnn_parity.diagnose.causes import CAUSES, RULES
from pytest_ncnn_parity.spec import spec

PAGES = sorted(
    [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")),
    ]
)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def test_the_page_of_options_has_every_option() -> None:
    rows = re.findall(r"^\| `(--ncnn-parity[\w-]*)", page("options"), re.MULTILINE)
    gate = [f"--ncnn-parity{name}" for name in ("-init", "-schema", "-arm64", "")]
    assert sorted(rows) == sorted([*gate, *(option.flag for option in options.TABLE.values())])


def test_the_page_of_the_spec_has_every_key_and_comparison() -> None:
    keys = re.search(r"```yaml\n(.*?)```", page("spec"), re.DOTALL)
    assert keys is not None
    assert set(re.findall(r"^(\w+):", keys[1], re.MULTILINE)) == {
        field.alias or name for name, field in spec.Spec.model_fields.items()
    }
    assert [name for name in comparisons.BUILT_IN if f"| `{name}` |" not in page("spec")] == []


def test_the_page_of_causes_has_the_table_of_causes() -> None:
    rows = [f"| `{cause.name}` | {cause.meaning} | {cause.remedy} |" for cause in CAUSES]
    assert [line for line in page("causes").splitlines() if line.startswith("| `")] == rows


def test_the_readme_is_short_and_has_both_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) < 110
    (commands,) = re.findall(r"## Two commands\n.*?```sh\n(.*?)```", readme, re.DOTALL)
    assert [line.split()[0] for line in commands.splitlines()] == ["example_models/run", "tests/run"]


def test_every_rule_has_its_cause_in_the_table() -> None:
    assert {name for name, _ in RULES} == {cause.name for cause in CAUSES} == {*get_args(CauseName)}


def test_the_page_of_constructs_has_the_table_that_is_tested() -> None:
    """`python -m constructs.table` in tests/, with example_models/ on the path, writes the rows."""
    shown = [line for line in page("constructs").splitlines() if line.startswith("|")]
    assert shown[2:] == list(markdown())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_points_at_is_there(path: Path) -> None:
    text = path.read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [one for one in links if "://" not in one and not (path.parent / one).exists()]
    assert missing == []
    file = ""
    for name, test in re.findall(r"(test_\w+\.py|…)(?:::(test_\w+))?", text):
        file = file if name == "…" else next((ROOT / "tests").rglob(name)).read_text("utf-8")
        assert not test or f"def {test}(" in file, f"{name}::{test}"


def test_the_map_has_every_folder_and_every_module_beside_them() -> None:
    within = (*PACKAGE.glob("worker/*/__init__.py"), *PACKAGE.glob("network/*/__init__.py"))
    inits = (*PACKAGE.glob("*/__init__.py"), *within)
    folders = {f"{path.parent.relative_to(PACKAGE)}/" for path in inits}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    table = page("how-it-works").partition("## Where everything is")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([\w./]+)` \|", table, re.MULTILINE))
    assert named == folders | modules
