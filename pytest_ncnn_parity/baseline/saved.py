"""A report from a file: read, and refused with one clear error where it is none of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.report import document


class BaselineError(ParityError):
    """A file that cannot be compared with."""


def read(path: Path) -> dict[str, Any]:
    """The report at `path`; BaselineError says what is wrong with it and what to do."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise BaselineError(f"cannot be read: {error.strerror}. {MAKE}") from None
    except UnicodeDecodeError as error:
        raise BaselineError(f"is not UTF-8 text: {error.reason} at byte {error.start}. {MAKE}") from None
    try:
        found: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BaselineError(f"is not JSON: {error.msg} at {place}. {MAKE}") from None
    except RecursionError:
        raise BaselineError(f"is nested too deeply for a report. {MAKE}") from None
    version = found.get("schema") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise BaselineError(f"is JSON, but no report: it has no 'schema' number. {MAKE}")
    if version != document.SCHEMA:
        newer = "Update pytest-ncnn-parity, or save" if version > document.SCHEMA else "Save"
        raise BaselineError(
            f"has schema {version}, and this version reads {document.SCHEMA}. {newer} the baseline anew"
        )
    problem = document.problem(found)
    if problem is not None:
        raise BaselineError(f"is no whole report: {problem}. {MAKE}")
    return found


MAKE = "Save one with --ncnn-parity-json=FILE"
