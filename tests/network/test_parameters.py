"""Parameters as numbers, and what is made of those that are none."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ncnn_parity.network import detectors, int8
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.natural_scale import natural_scales, softmax_axis
from pytest_ncnn_parity.network.parameters import (
    NotANumber,
    decimal,
    decimals,
    differs,
    number,
    numbers,
    refuse_expressions,
)
from pytest_ncnn_parity.network.versions import units
from pytest_ncnn_parity.spec.first_inputs import first_inputs


def layer(*params: str, kind: str = "Any") -> Layer:
    return graphs.network(" ".join([f"{kind} x in0 out0", *params])).layers[1]


def test_numbers_are_read_by_their_ids() -> None:
    read = layer("0=7", "1=2.5", "-23303=2,4,-5", "-23304=1,0.5")
    assert (number(read, 0), number(read, 2), number(read, 2, 9)) == (7, 0, 9)
    assert (decimal(read, 1, 0.0), decimal(read, 2, 1.5)) == (2.5, 1.5)
    assert (numbers(read, 3), numbers(read, 5)) == ((4, -5), ())
    assert (decimals(read, 4), decimals(read, 5)) == ((0.5,), ())
    assert (differs(read, 0, 7.0), differs(read, 0, 6.0), differs(read, 2, 6.0)) == (False, True, False)


def test_an_array_may_be_written_without_its_length() -> None:
    read = layer("3=4,-5", "4=0.5,", '5="a,b"', "6=7")
    assert numbers(read, 3) == (4, -5)
    assert decimals(read, 4) == (0.5,)
    assert numbers(layer("-23303=2,4,-5"), 3) == numbers(read, 3)
    assert read.params["5"] == '"a,b"'


def test_what_is_no_number_is_refused() -> None:
    odd = layer("0=1.5", '1="a"', "-23304=1,0.5", "3=4")
    for read in (
        lambda: number(odd, 0),
        lambda: number(odd, 1),
        lambda: decimal(odd, 1, 0.0),
        lambda: numbers(odd, 4),
        lambda: numbers(odd, 3),
        lambda: refuse_expressions(odd, 2, 3),
    ):
        with pytest.raises(NotANumber):
            read()
    assert differs(odd, 1, 1.0) is False
    refuse_expressions(odd, 2)


KINDS = [*detectors.DETECTORS, *int8.WEIGHTS, "Softmax", "BinaryOp", "Eltwise", "Padding", "Reduction"]
KINDS += ["Dropout", "ReLU", "Concat", "UnaryOp", "Interp"]


@given(st.sampled_from(KINDS), st.data())
def test_nothing_trips_over_a_parameter_that_is_no_number(kind: str, data: st.DataObject) -> None:
    value = st.sampled_from(["-1", "0", "1", "3", "1.5", "1e3", '"size(@0,0)"', "axis", "1,2"])
    params = data.draw(st.dictionaries(st.integers(0, 12), value, max_size=5))
    arrays = data.draw(st.dictionaries(st.integers(1, 4), st.sampled_from(["0", "1,0.5", "2,1,1"])))
    words = [f"{key}={text}" for key, text in params.items() if key not in arrays]
    words += [f"{-23300 - key}={text}" for key, text in arrays.items()]
    graph = graphs.network("Sigmoid s in0 a", " ".join([f"{kind} x a out0", *words]), "ReLU r out0 out1")
    made = graph.layers[2]
    natural_scales(graph)
    units.sources(graph)
    detectors.thresholds(made)
    int8.misreads_int8(made)
    int8.weight_count(made)
    int8.int8_blobs(graph)
    list(first_inputs(graph, Path("not there.param")))
    for dimensions in (1, 3):
        axis = softmax_axis(made, dimensions)
        assert axis is None or 0 <= axis < dimensions
