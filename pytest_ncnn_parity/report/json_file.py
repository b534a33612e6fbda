"""The JSON report: strict JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.base import write_files


def write(document: dict[str, Any], path: Path) -> None:
    """Write `document` to `path`. Raises OSError when the place cannot be written."""
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    write_files.write(text + "\n", path, "backslashreplace")
