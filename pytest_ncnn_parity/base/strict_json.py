"""Values for strict JSON, which has no inf and no nan: those become the strings "inf", "-inf", "nan"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    """Turn dataclasses, mappings, sequences and scalars into what strict JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(part) for key, part in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def line(value: Any) -> str:
    """`value` as one line of strict JSON."""
    try:
        return json.dumps(value, allow_nan=False, default=vars)
    except ValueError:  # inf or nan somewhere in it
        return json.dumps(plain(value), allow_nan=False)
