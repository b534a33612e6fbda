"""Values for strict JSON, which has no inf and no nan: those become the strings "inf", "-inf", "nan"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

_PLAIN = frozenset((str, int, bool, type(None)))


def plain(value: Any) -> Any:
    """Turn dataclasses, mappings, sequences and scalars into what strict JSON can hold."""
    # most values are of these types, and any other check costs ten times as much
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(part) for key, part in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def given(value: object, default: object) -> dict[str, object]:
    """The fields of `value` that differ from those of `default`, plain."""
    usual = vars(default)
    return {name: plain(one) for name, one in vars(value).items() if one != usual[name]}


def line(value: Any) -> str:
    """`value` as one line of strict JSON."""
    try:
        return json.dumps(value, allow_nan=False, default=vars)
    except ValueError:  # it contains inf or nan
        return json.dumps(plain(value), allow_nan=False)
