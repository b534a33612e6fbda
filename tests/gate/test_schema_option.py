"""`--ncnn-parity-schema`: it prints a schema, and nothing beside it."""

from __future__ import annotations

import json

import jsonschema
import pytest
from conftest import fresh_python


@pytest.mark.parametrize("kind", ["spec", "report"])
def test_the_option_prints_a_schema_and_nothing_else(kind: str) -> None:
    process = fresh_python(f"import sys, pytest; sys.exit(pytest.main(['--ncnn-parity-schema={kind}']))")
    assert (process.returncode, process.stderr) == (0, "")
    schema = json.loads(process.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["required"]) >= ({"model", "inputs"} if kind == "spec" else {"schema", "models"})


def test_one_thing_is_printed_at_a_time(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--ncnn-parity-schema=spec", "--ncnn-parity-init=net.param")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --ncnn-parity-init and --ncnn-parity-schema: give only one of *"]
    )
