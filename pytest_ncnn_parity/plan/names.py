"""Names of cases as pytest's ids can hold them, and the patterns by which a spec names layers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.graph import Layer


def matches(pattern: str, layer: Layer) -> bool:
    """Whether `pattern`, a name, a name glob or `type:Op`, applies to `layer`."""
    kind, colon, operator = pattern.partition(":")
    if colon and kind == "type":
        return fnmatchcase(layer.type, operator)
    return pattern == layer.name or fnmatchcase(layer.name, pattern)


def matches_blob(pattern: str, blob: str) -> bool:
    """Whether `pattern`, a name or a glob, applies to `blob`."""
    return pattern == blob or fnmatchcase(blob, pattern)


def node_names(names: Iterable[str]) -> list[str]:
    """`names` in the form that pytest's ids can hold: printable, without `::`, and unique."""
    plain = [printable(re.sub("::+", ":", name)) for name in names]
    often = Counter(plain)
    taken: set[str] = set()
    unique = []
    for number, name in enumerate(plain):
        own = name if often[name] == 1 else f"{name}#{number}"
        while own in taken or (own != name and own in often):
            own += "'"
        taken.add(own)
        unique.append(own)
    return unique
