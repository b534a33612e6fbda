"""Finds settings that begin as this plugin's do and are none of them, wherever pytest is configured.

pytest only warns of a name that it does not know, and a gate would then run without what was set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_ncnn_parity.base.errors import guess
from pytest_ncnn_parity.options import TABLE

_SECTION = re.compile(r"\s*\[\s*([^]]*?)\s*\]")
_OF_PYTEST = {"pytest", "tool:pytest", "tool.pytest", "tool.pytest.ini_options"}
_NAME = re.compile(r"""\s*["']?(ncnn[-_]parity[-\w]*)["']?\s*[=:]""")


def unknown(configuration: Path | None, overridden: Iterable[str]) -> list[str]:
    """Return an error for each unknown name in pytest's file of settings, or in `-o NAME=VALUE`."""
    known = ["ncnn_parity", *(option.ini for option in TABLE.values())]
    return [
        f"{where}: there is no setting {name}{guess(name, known)}"
        for where, name in [*_in_file(configuration), *_in_options(overridden)]
        if name not in known
    ]


def _in_file(path: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the place and the name of each setting that begins as ours do."""
    section = ""
    for number, line in enumerate(
        path.read_text("utf-8-sig", "replace").splitlines() if path else (), start=1
    ):
        if header := _SECTION.match(line):
            section = header[1]
        elif section in _OF_PYTEST and (name := _NAME.match(line)):
            yield f"{path}:{number}", name[1]


def _in_options(overridden: Iterable[str]) -> Iterator[tuple[str, str]]:
    for setting in overridden:
        if name := _NAME.match(setting):
            yield f"-o {setting}", name[1]
