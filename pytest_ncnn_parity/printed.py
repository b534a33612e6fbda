"""Text printed instead of running: a first spec, a JSON Schema, or a line that declares a worker."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from pytest_ncnn_parity import arm64
from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.option_values import OptionsError
from pytest_ncnn_parity.report import document
from pytest_ncnn_parity.spec import spec, starter

_SCHEMAS = {"spec": spec.schema, "report": document.schema}


def printed(asked: Mapping[str, str], called_in: Path) -> str:
    """Return the text for the one option in `asked`, which maps option names to values.

    `init`: a first spec for that .param file, to be saved in `called_in`. `schema`: the JSON Schema of
    that name. `arm64`: the line that declares a worker whose emulated Python is created in that folder.
    Raises OptionsError if several options are given or the text cannot be produced.
    """
    if len(asked) > 1:
        names = " and ".join(f"--ncnn-parity-{name}" for name in asked)
        raise OptionsError([f"{names}: give only one of these options"])
    ((name, value),) = asked.items()
    if not value.strip():
        raise OptionsError([f"--ncnn-parity-{name}=: expected a path"])
    try:
        if name == "init":
            return starter.starter(read_files.written(value, Path()), called_in)
        if name == "arm64":
            python = arm64.make(read_files.written(value, called_in).resolve())
            return f"arm: command={shlex.quote(shlex.quote(str(python)))} emulated\n"
    except ParityError as error:
        raise OptionsError([f"--ncnn-parity-{name}: {error}"]) from None
    return json.dumps(_SCHEMAS[value](), indent=2) + "\n"
