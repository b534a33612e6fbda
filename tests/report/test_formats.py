"""The table of report formats: each is an option, and what it needs an extra installs."""

from __future__ import annotations

import re
from importlib import metadata

import graphs
import pytest
import reports

from pytest_ncnn_parity.options import TABLE
from pytest_ncnn_parity.report.formats import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_an_option_that_judges_nothing(name: str) -> None:
    option = TABLE[name]
    assert (option.flag, option.judges) == (FORMATS[name].flag, False)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_needs_its_extra_installs(name: str) -> None:
    required = metadata.requires("pytest-ncnn-parity") or []
    extra = {re.split(r"\W", line)[0] for line in required if re.search(f"extra == .{name}.", line)}
    assert set(FORMATS[name].needs) == extra


def test_json_is_strict() -> None:
    report = reports.report(graphs.network(*graphs.CHAIN))
    assert FORMATS["json"].render(report).startswith('{\n "schema": 1,')
    report["models"][0]["cases"][0]["metrics"]["scaled"] = float("inf")
    with pytest.raises(ValueError, match="not JSON compliant"):
        FORMATS["json"].render(report)
