"""Options as a command line and an ini would give them, without pytest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_ncnn_parity import option_values
from pytest_ncnn_parity.options import TABLE, Options, Source

DEFAULTS = {option.ini: option.default for option in TABLE.values()}


def source(folder: Path, typed: Mapping[str, object], ini: Mapping[str, object] | None = None) -> Source:
    """By names without prefix: those `typed` in `folder`/called, and those in the `ini` of `folder`."""
    on_command_line = {f"ncnn_parity_{name}": value for name, value in typed.items()}
    in_ini = {**DEFAULTS, **{f"ncnn_parity_{name}": value for name, value in (ini or {}).items()}}
    return Source(on_command_line.get, in_ini.get, folder / "called", folder)


def options(folder: Path, **typed: object) -> Options:
    """The options of a run in `folder`, as they are with these typed and none in the ini."""
    return option_values.read(source(folder, typed))
