"""What is printed instead of a run: a first spec for a model, or a JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.option_values import OptionsError
from pytest_ncnn_parity.report import document
from pytest_ncnn_parity.spec import spec, starter

_SCHEMAS = {"spec": spec.schema, "report": document.schema}


def printed(model: str | None, schema: str | None, called_in: Path) -> str:
    """A first spec for the .param file `model`, to stand in `called_in`, or the JSON Schema `schema`.

    OptionsError where both are asked for, and where `model` is none.
    """
    if schema is None:
        assert model is not None
        try:
            return starter.starter(Path(model), called_in)
        except ParityError as error:
            raise OptionsError([f"--ncnn-parity-init: {error}"]) from None
    if model is not None:
        raise OptionsError(["--ncnn-parity-init and --ncnn-parity-schema: ask for one of them"])
    return json.dumps(_SCHEMAS[schema](), indent=2) + "\n"
