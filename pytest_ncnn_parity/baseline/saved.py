"""Reads a saved report; a file that is no report of this plugin gives one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.report import document
from pytest_ncnn_parity.report.document import Report

MAKE = "Save one with --ncnn-parity-json=FILE"


class BaselineError(ParityError):
    """A file that cannot be compared with."""


def read(path: Path) -> Report:
    """The report at `path`. Raises BaselineError, which says what is wrong with it and what to do."""
    parsed = _parsed(path)
    version = parsed.get("schema") if isinstance(parsed, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise BaselineError(f"is JSON, but not a report: it has no 'schema' number. {MAKE}")
    if version != document.SCHEMA:
        newer = "Update pytest-ncnn-parity, or save" if version > document.SCHEMA else "Save"
        raise BaselineError(
            f"has schema {version}, and this version reads {document.SCHEMA}. {newer} the baseline anew"
        )
    problem = document.problem(parsed)
    if problem is not None:
        raise BaselineError(f"is not a complete report: {problem}. {MAKE}")
    report = cast("Report", parsed)
    if not report["models"]:
        raise BaselineError(f"holds no verdict, so that nothing could be worse than in it. {MAKE}")
    return report


def _parsed(path: Path) -> object:
    why_not = read_files.problem(path, None)
    if why_not:
        raise BaselineError(f"{why_not}. {MAKE}")
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise BaselineError(f"cannot be read: {error.strerror}. {MAKE}") from None
    except UnicodeDecodeError as error:
        raise BaselineError(f"is not UTF-8 text: {error.reason} at byte {error.start}. {MAKE}") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        what = error.msg.removesuffix(" at")
        raise BaselineError(f"is not JSON: {what} at {place}. {MAKE}") from None
    except ValueError:  # Python reads integers of 4300 digits at most
        raise BaselineError(f"is no report: an integer has thousands of digits. {MAKE}") from None
    except RecursionError:
        raise BaselineError(f"is nested too deeply for a report. {MAKE}") from None
