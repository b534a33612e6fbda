"""Values for strict JSON, which has no inf and no nan: those become the strings "inf", "-inf", "nan"."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_PLAIN = frozenset((str, int, bool, type(None)))


def plain(value: Any) -> Any:
    """Turn dataclasses, mappings, sequences and scalars into what strict JSON can hold."""
    # most values are of these types, and any other check costs ten times as much
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(part) for key, part in _parts(value).items()}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def given(value: DataclassInstance) -> dict[str, object]:
    """The fields of a dataclass that do not have their defaults, with floats that strict JSON has."""
    names, usual, values = _fields(type(value))
    return {
        name: str(one) if one.__class__ is float and not math.isfinite(one) else one
        for name, default, one in zip(names, usual, values(value), strict=True)
        if one is not default and one != default
    }


@cache
def _fields(
    kind: type[DataclassInstance],
) -> tuple[tuple[str, ...], tuple[object, ...], Callable[[object], tuple[object, ...]]]:
    """The names of the fields, of which there are several, their defaults, and what gets their values.

    The default of a field that must be given is MISSING, which equals nothing.
    """
    names = tuple(one.name for one in fields(kind))
    defaults = tuple(
        one.default if one.default_factory is MISSING else one.default_factory() for one in fields(kind)
    )
    return names, defaults, attrgetter(*names)


def line(value: Any) -> str:
    """`value` as one line of strict JSON."""
    try:
        return _ENCODER.encode(value)
    except ValueError:  # it contains inf or nan
        return _ENCODER.encode(plain(value))


def _parts(value: Any) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__dict__"):
        parts: Mapping[str, object] = vars(value)
        return parts
    return {one.name: getattr(value, one.name) for one in fields(value)}


_ENCODER = json.JSONEncoder(allow_nan=False, default=_parts)
