"""The cards that show fixes: one for each set of masks, or for the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.report.document.case import Number
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.text import fix_text


class FixCard(Frozen):
    """One set of masks, for every comparison that it was found for, or why there is none.

    `instead`: one option that does what dozens of masks do, to be said first; `diff`: the lines of the
    patch, each with what it is; `spec`: the masks as a line of the spec; `apply`: the patch files that
    were written. `in_floats`: the layers that an int8 model is to keep in floats, in words.
    """

    comparisons: tuple[str, ...]
    mark: str
    fix: FixRecord
    instead: str
    diff: tuple[tuple[str, str], ...]
    spec: str
    facts: tuple[tuple[str, str], ...]
    apply: tuple[str, ...]
    in_floats: str


def fix_cards(fixes: Sequence[FixRecord]) -> Iterator[FixCard]:
    """The fixes, those that are alike as one: the one of which most is known."""
    for same in fix_text.alike(fixes):
        fix = max(same, key=lambda fix: (fix["verified"], fix["cost"] is not None))
        yield FixCard(
            comparisons=tuple(fix["comparison"] for fix in same),
            mark=fix_text.mark(fix),
            fix=fix,
            instead="" if (option := fix_text.simpler(fix)) is None else fix_text.right(option),
            diff=tuple(_diff(fix["patch"])),
            spec=fix_text.in_spec(fix),
            facts=tuple(_facts(fix)),
            apply=tuple(path for path in fix["written"] if path.endswith(".patch")),
            in_floats=fix_text.in_floats(fix),
        )


def _diff(patch: str) -> Iterator[tuple[str, str]]:
    if patch:
        yield from ((_kind(line), line) for line in patch.removesuffix("\n").split("\n"))


def _kind(line: str) -> str:
    """What a line of a patch is, in a word."""
    for start, kind in (("---", "file"), ("+++", "file"), ("@@", "place"), ("-", "del"), ("+", "ins")):
        if line.startswith(start):
            return kind
    return "same"


def _facts(fix: FixRecord) -> Iterator[tuple[str, str]]:
    if fix["lines"]:
        before, after = fix["errors"]
        if before is not None and after is not None:
            yield "worst output error", f"{_g(before)} → {_g(after)}"
        yield "proof", fix["how"]
    if fix["cost"] is not None:
        yield "cost", fix_text.cost(fix["cost"])
    for other in fix_text.further(fix):
        yield "instead", fix_text.alternative(other)
    for note in fix["notes"]:
        yield "note", note
    if fix["runs"]:
        yield "search", fix_text.search(fix)
    for path in fix["written"]:
        yield "written", PurePath(path).as_posix()


def _g(value: Number) -> str:
    return f"{float(value):.3g}"
