"""The JSON Schemas, draft 2020-12: of a spec, for editors, and of the report, for who reads it."""

from __future__ import annotations

import json
from typing import Any

from pytest_ncnn_parity.report import document
from pytest_ncnn_parity.spec.spec import Spec

DRAFT = "https://json-schema.org/draft/2020-12/schema"
KINDS = ("spec", "report")


def text(kind: str) -> str:
    """The schema of `kind` as JSON text."""
    made = {"spec": spec, "report": report}[kind]()
    return json.dumps({"$schema": DRAFT, **made}, indent=2) + "\n"


def spec() -> dict[str, Any]:
    """What an editor can check of `*.parity.yaml`; collecting checks more: files, names, shapes."""
    found = Spec.model_json_schema(by_alias=True)
    return {**found, "title": "ncnn parity spec"}


def report() -> dict[str, Any]:
    """What --ncnn-parity-json writes."""
    return document.schema()
