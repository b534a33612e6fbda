"""The shape of the JSON report: what its schema and its documentation say of it."""

from __future__ import annotations

from typing import Any

import graphs
import pytest
import reports
from conftest import ROOT
from reports import assert_valid

from pytest_ncnn_parity.report import document

DOCS = ROOT / "docs" / "json.md"


def test_a_key_nobody_described_would_be_seen() -> None:
    report = reports.report(graphs.network(*graphs.CHAIN))
    assert_valid(report)
    report["models"][0]["cases"][0]["metrics"]["more"] = 1
    with pytest.raises(AssertionError, match=r"'cases', 0, 'metrics'\]: .*more"):
        assert_valid(report)


def test_the_docs_name_every_key() -> None:
    text = DOCS.read_text("utf-8")

    def keys(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(keys, schema))
        if not isinstance(schema, dict):
            return set()
        return set(schema.get("properties", ())).union(*map(keys, schema.values()))

    assert {key for key in keys(document.schema()) if f"`{key}`" not in text} == set()
