"""A recurrent layer in both directions may be two in the other file, whose values are joined."""

from __future__ import annotations

import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.operator_kinds import RECURRENT
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUT = "Input in0 0 1 in0"
LAST = "InnerProduct last 1 1 {} out0 0=4 1=1 2=48"


def stacked(kind: str) -> Graph:
    """Two layers in both directions, behind each other."""
    layers = f"{kind} one 1 1 in0 a 0=6 1=384 2=2", f"{kind} two 1 1 a b 0=6 1=576 2=2"
    return network(INPUT, *layers, LAST.format("b"))


def single(kind: str, axis: str = "0=1", joined: str = "{0}f {0}b", backward: str = "2=1") -> Graph:
    """The same as four layers. The backward one of the second two stands first."""
    lines = [
        "Split s 1 2 in0 in_0 in_1",
        f"{kind} one_f 1 1 in_0 af 0=6 1=192",
        f"{kind} one_b 1 1 in_1 ab 0=6 1=192 {backward}",
        f"Concat one 2 1 {joined.format('a')} a {axis}",
        "Split s2 1 2 a a_0 a_1",
        f"{kind} two_b 1 1 a_1 bb 0=6 1=288 {backward}",
        f"{kind} two_f 1 1 a_0 bf 0=6 1=288",
        f"Concat two 2 1 {joined.format('b')} b {axis}",
    ]
    return network(INPUT, *lines, LAST.format("b"))


def judged(found: Counterparts) -> dict[str, tuple[set[str], set[str]]]:
    """By layer: those there, and those that they replace, without copies."""
    copies = {"s", "s2"}
    return {n: (set(there) - copies, set(here) - copies) for n, (there, here, _) in named(found).items()}


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("axis", ["0=1", "0=-1"])
def test_each_of_two_behind_each_other_is_judged_by_itself(kind: str, axis: str) -> None:
    for name, there in judged(counterparts(stacked(kind), single(kind, axis))).items():
        assert there == ({name} if name == "last" else {name, f"{name}_f", f"{name}_b"}, {name})
    for name, there in judged(counterparts(single(kind, axis), stacked(kind))).items():
        assert there == ({name}, {name} if name == "last" else {name, f"{name}_f", f"{name}_b"})


@pytest.mark.parametrize(
    "other",
    [{"axis": "0=0"}, {"joined": "{0}b {0}f"}, {"backward": "2=0"}],
    ids=["below each other", "backward first", "both forward"],
)
def test_what_is_joined_otherwise_is_not_the_same(other: dict[str, str]) -> None:
    assert "one" not in judged(counterparts(stacked("LSTM"), single("LSTM", **other)))


def test_layers_of_one_direction_are_judged_each_by_itself_where_both_files_have_them() -> None:
    found = judged(counterparts(single("GRU"), single("GRU")))
    names = ("one_f", "one_b", "one", "two_b", "two_f", "two", "last")
    assert found == {name: ({name}, {name}) for name in names}
