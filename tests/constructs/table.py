"""The whole table, and how docs/constructs.md shows it."""

from __future__ import annotations

from collections.abc import Iterator

from constructs import arithmetic, images, sequences
from constructs.construct import Construct, Table

FAMILIES: dict[str, Table] = {t.family: t for t in (sequences.TABLE, images.TABLE, arithmetic.TABLE)}

# what is wrongly converted in each family, to see that its recordings tell
SPOILT = ("lstm_projected", "grouped_convolution", "gemm_of_constants")


def markdown() -> Iterator[str]:
    """The rows of the table in the docs."""
    for family in FAMILIES.values():
        yield from map(_row, family)


def _row(construct: Construct) -> str:
    operators = ", ".join(construct.draft()[0].operators())
    fault = construct.fault
    remark = "" if fault is None else f"from {fault.since} on {fault.why}"
    return f"| {construct.name.replace('_', ' ')} | {operators} | {construct.since} | {remark} |"


if __name__ == "__main__":
    print(*markdown(), sep="\n")
