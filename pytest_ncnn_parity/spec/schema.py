"""The JSON Schema of a spec, draft 2020-12, for editors; and how any schema is printed."""

from __future__ import annotations

import json
from typing import Any

from pytest_ncnn_parity.spec.spec import Spec

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def text(schema: dict[str, Any]) -> str:
    """`schema` as JSON text that says its draft."""
    return json.dumps({"$schema": DRAFT, **schema}, indent=2) + "\n"


def schema() -> dict[str, Any]:
    """What an editor can check of `*.parity.yaml`; collecting checks more: files, names, shapes."""
    return {**Spec.model_json_schema(by_alias=True), "title": "ncnn parity spec"}
