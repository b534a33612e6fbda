"""Masks put onto a .param: only the masked line changes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.param import parse


def masked_line(line: str, mask: int, name: str = "relu") -> str:
    """The layer line `line` after `mask` was put on the layer `name`."""
    text = f"7767517\n2 2\nInput in0 0 1 in0\n{line}"
    changed = parse(text, "net.param").with_masks({name: mask})
    head, after = changed.text[: -len(line)], changed.text[len(text) - len(line) :]
    assert text.startswith(head)
    return after


@pytest.mark.parametrize(
    ("before", "mask", "after"),
    [
        ("ReLU relu 1 1 in0 x", 18, "ReLU relu 1 1 in0 x 31=18"),
        ("ReLU relu 1 1 in0 x 0=0.1\n", 1, "ReLU relu 1 1 in0 x 0=0.1 31=1\n"),
        ("ReLU relu 1 1 in0 x 0=0.1\r\n", 1, "ReLU relu 1 1 in0 x 0=0.1 31=1\r\n"),
        ("ReLU relu 1 1 in0 x 0=0.1  \t\n", 1, "ReLU relu 1 1 in0 x 0=0.1 31=1  \t\n"),
        ("ReLU\trelu\t1 1\tin0 x\t0=0.1\n", 1, "ReLU\trelu\t1 1\tin0 x\t0=0.1 31=1\n"),
        ("ReLU relu 1 1 in0 x 31=2 0=0.1\n", 16, "ReLU relu 1 1 in0 x 31=18 0=0.1\n"),
        ("ReLU relu 1 1 in0 x 31=16 31=1\n", 2, "ReLU relu 1 1 in0 x 31=16 31=3\n"),
        ("ReLU relu 1 1 in0 x -23331=1,5\n", 2, "ReLU relu 1 1 in0 x -23331=1,5 31=2\n"),
        ("ReLU relu 1 1 in0 x 31=1 -23331=1,5\n", 2, "ReLU relu 1 1 in0 x 31=3 -23331=1,5\n"),
        ('ReLU relu 1 1 in0 x 5="a 31=4 b"\n', 1, 'ReLU relu 1 1 in0 x 5="a 31=4 b" 31=1\n'),
        ('ReLU relu 1 1 in0 x 31=4 5="# 31=2"\n', 1, 'ReLU relu 1 1 in0 x 31=5 5="# 31=2"\n'),
        ("ReLU relu 1 1 in0 x 31=0\n", 255, "ReLU relu 1 1 in0 x 31=255\n"),
        ("ReLU relu 1 1 in0 x 31=18\n", 2, "ReLU relu 1 1 in0 x 31=18\n"),
        ("ReLU relu 1 1 in0 x 31=7", 0, "ReLU relu 1 1 in0 x 31=7"),
    ],
)
def test_a_mask_is_added_or_merged_into_the_one_that_counts(before: str, mask: int, after: str) -> None:
    assert masked_line(before, mask) == after


@pytest.mark.parametrize("name", ["31=4", "conv31=4"])
def test_a_name_that_looks_like_a_mask_is_left_alone(name: str) -> None:
    assert masked_line(f"ReLU {name} 1 1 in0 x\n", 2, name) == f"ReLU {name} 1 1 in0 x 31=2\n"


def test_a_blob_that_looks_like_a_mask_is_left_alone() -> None:
    assert masked_line("ReLU relu 1 1 in0 31=4\n", 2) == "ReLU relu 1 1 in0 31=4 31=2\n"


def test_every_layer_of_a_name_is_masked() -> None:
    text = "7767517\n3 3\nInput in0 0 1 in0\nReLU r 1 1 in0 x\nReLU r 1 1 x y 31=1\n"
    assert [r.mask for r in parse(text, "n").with_masks({"r": 18}).layers] == [0, 18, 19]


def test_masking_no_layer_of_that_name_changes_nothing() -> None:
    text = "7767517\n1 1\nInput in0 0 1 in0\n"
    assert parse(text, "n").with_masks({"r": 18}).text == text


PAIR = st.sampled_from(
    ["0=1", "1=1.500000e-01", "-23331=2,31,5", "-23310=1,1e-1", '3="a 31=9 b"', "31=2", "31=16"]
)
GAP = st.sampled_from([" ", "  ", "\t", " \t "])
TAIL = st.sampled_from(["", " ", "\t ", "   "])


@st.composite
def networks(draw: st.DrawFn) -> str:
    """A chain of layers, written in every way of spacing and ending lines that tools write."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    pairs = draw(st.lists(st.lists(PAIR, max_size=4), min_size=1, max_size=5))
    lines = [f"7767517{draw(TAIL)}", f"{len(pairs) + 1} {len(pairs) + 1}", "Input in 0 1 b0"]
    for i, own in enumerate(pairs):
        words = ["ReLU", f"r{i}", "1", "1", f"b{i}", f"b{i + 1}", *own]
        spaced = "".join(draw(GAP) + word for word in words[1:])
        lines.append(words[0] + spaced + draw(TAIL))
        lines += [""] * draw(st.integers(0, 1))
    return newline.join(lines) + draw(st.sampled_from(["", newline]))


@settings(deadline=None)
@given(networks(), st.dictionaries(st.sampled_from(["r0", "r1", "r4"]), st.integers(0, 255)))
def test_only_masked_lines_change_and_only_by_their_mask(text: str, masks: dict[str, int]) -> None:
    before = parse(text, "net.param")
    after = before.with_masks(masks)
    for old, new in zip(before.layers, after.layers, strict=True):
        assert new.mask == old.mask | masks.get(new.name, 0)
        assert {**new.params, "31": ""} == {**old.params, "31": ""}
        line, changed = (g.text.splitlines(keepends=True)[old.line - 1] for g in (before, after))
        if new.mask == old.mask:
            assert changed == line
        else:
            assert changed in one_mask_apart(line, new.mask)
    touched = {layer.line for layer in before.layers}
    assert untouched(before, touched) == untouched(after, touched)


def one_mask_apart(line: str, mask: int) -> set[str]:
    """Every way to set one mask of `line` to `mask`, or to add one at its end."""
    present = re.finditer(r"(?<=\s31=)\d+", line)
    edited = {line[: m.start()] + str(mask) + line[m.end() :] for m in present}
    body = line.rstrip()
    return edited | {f"{body} 31={mask}{line[len(body) :]}"}


def untouched(graph: Graph, layer_lines: set[int]) -> list[str]:
    lines = graph.text.splitlines(keepends=True)
    return [line for n, line in enumerate(lines, 1) if n not in layer_lines]


@settings(deadline=None)
@given(networks(), st.integers(0, 255), st.integers(0, 255))
def test_masks_put_on_one_after_the_other_are_or_ed(text: str, first: int, second: int) -> None:
    graph = parse(text, "net.param")
    stepwise = graph.with_masks({"r0": first}).with_masks({"r0": second})
    assert stepwise.text == graph.with_masks({"r0": first | second}).text


# -- patches -------------------------------------------------------------------------------------


CHAIN = "7767517\n3 3\nInput in0 0 1 in0\nReLU a 1 1 in0 x 31=1\nReLU b 1 1 x y\n"


def test_nothing_changed_makes_no_patch() -> None:
    graph = parse(CHAIN, "net.param")
    assert graph.diff(graph.with_masks({}), "net.param") == ""
