"""What a first spec feeds to the states of a recurrent layer, to attention, and before a logarithm."""

from __future__ import annotations

import pytest
from first_specs import shapes, sources

LSTM = "0=16 1=2048"  # rows of 32


# -- further inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "states"),
    [
        (f"LSTM lstm 3 1 in0 h c out0 {LSTM}", ["[1, 16]", "[1, 16]"]),
        ("LSTM lstm 3 1 in0 h c out0 0=16 1=8192 2=2 3=32", ["[2, 16]", "[2, 32]"]),
        ("GRU gru 2 1 in0 h out0 0=16 1=3072 2=2", ["[2, 16]"]),
        ("RNN rnn 2 1 in0 h out0 0=16 1=512", ["[1, 16]"]),
    ],
)
def test_states_have_a_row_for_each_direction(layer: str, states: list[str]) -> None:
    names = ["h", "c"][: len(states)]
    assert shapes(*(f"Input {name} 0 1 {name}" for name in names), layer)[1:] == states


def test_a_state_that_a_layer_copies_first_is_known_as_well() -> None:
    fork = ["Input h 0 1 h", "Split fork 1 2 h a b", "ReLU relu 1 1 b r"]
    assert shapes(*fork, "GRU gru 2 1 in0 a out0 0=16 1=1536")[1] == "[1, 16]"


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ("2 1 in0 k out0 0=32 1=4 2=1024 3=48 4=48", ["[LENGTH, 48]"]),
        ("2 1 in0 k out0 0=32 1=4 2=1024", ["[LENGTH, 32]"]),
        ("3 1 in0 k v out0 0=32 1=4 2=1024 3=48 4=24", ["[LENGTH, 48]", "[LENGTH, 24]"]),
        ("2 1 in0 k out0 0=32 1=4 2=1024 5=1", ["[QUERIES, KEYS]"]),
        (
            "4 1 in0 k v m out0 0=32 1=4 2=1024 3=48 4=24 5=1",
            ["[LENGTH, 48]", "[LENGTH, 24]", "[QUERIES, KEYS]"],
        ),
    ],
)
def test_keys_values_and_masks_of_an_attention(attention: str, expected: list[str]) -> None:
    further = [f"Input {name} 0 1 {name}" for name in attention.split()[3:-1] if name in "kvm"]
    assert shapes(*further, f"MultiHeadAttention mha {attention}") == ["[LENGTH, 32]", *expected]


def test_the_weights_of_attention_count_rows_of_its_input_as_before() -> None:
    assert shapes("MultiHeadAttention mha 1 1 in0 out0 0=32 1=4 2=1024") == ["[LENGTH, 32]"]


def test_the_inputs_of_heads_have_names_for_their_axes() -> None:
    """As a language model has them: cosines and sines, a mask, keys and values of the words before."""
    names = ["cos", "sin", "k", "v", "mask", "past", "before"]
    inputs = [f"Input {name} 0 1 {name}" for name in names]
    turn = "RotaryEmbed turn 3 1 in0 cos sin q"
    sdpa = "SDPA sdpa 6 3 q k v mask past before out0 keys values 5=1 7=1"
    assert sources(*inputs, turn, sdpa) == [
        "{random: uniform, low: -1, high: 1, shape: [HEADS, LENGTH, SIZE]}",
        "{random: uniform, low: -1, high: 1, shape: [LENGTH, HALF]}",
        "{random: uniform, low: -1, high: 1, shape: [LENGTH, HALF]}",
        "{random: normal, shape: [HEADS, KEYS, SIZE]}",
        "{random: normal, shape: [HEADS, KEYS, SIZE]}",
        "{random: normal, shape: [QUERIES, KEYS]}",
        "{random: normal, shape: [HEADS, PAST, SIZE]}",
        "{random: normal, shape: [HEADS, PAST, SIZE]}",
    ]


def test_past_keys_stand_behind_the_values_where_there_is_no_mask() -> None:
    inputs = [f"Input {name} 0 1 {name}" for name in ("k", "v", "past", "before")]
    sdpa = "SDPA sdpa 5 3 in0 k v past before out0 keys values 7=1"
    assert shapes(*inputs, sdpa)[3:] == ["[HEADS, PAST, SIZE]", "[HEADS, PAST, SIZE]"]


def test_a_mask_that_the_network_computes_with_first_may_have_any_axes() -> None:
    inputs = [f"Input {name} 0 1 {name}" for name in ("k", "v", "mask")]
    large = "BinaryOp large 1 1 mask m 0=2 1=1 2=-1e4"
    sdpa = "SDPA sdpa 4 1 in0 k v m out0 5=1"
    assert shapes(*inputs, large, sdpa)[3] == "[CHANNELS, HEIGHT, WIDTH]"


# -- signals and vectors that get an axis more ---------------------------------------------------


@pytest.mark.parametrize(
    "row", ["ExpandDims row 1 1 in0 a -23303=1,0", "Reshape row 1 1 in0 a 0=-1 1=1"]
)
def test_a_vector_that_becomes_a_channel_is_a_signal(row: str) -> None:
    pad = "Padding pad 1 1 a b 2=32 3=32 4=2"
    (source,) = sources(row, pad, "Convolution1D conv 1 1 b out0 0=8 1=16 5=0 6=128")
    assert source == "{random: smooth, low: -1, high: 1, shape: [LENGTH]}"


def test_a_matrix_that_becomes_a_channel_of_a_convolution_is_a_map() -> None:
    """As a spectrogram is: (time, bands) becomes (1, time, bands)."""
    conv = "Convolution conv 1 1 a out0 0=8 1=3 3=2 6=72"
    (source,) = sources("ExpandDims axis 1 1 in0 a -23303=1,0", conv)
    assert source == "{random: smooth, low: -1, high: 1, shape: [HEIGHT, WIDTH]}"


def test_a_reshape_to_more_rows_shows_no_signal() -> None:
    conv = "Convolution1D conv 1 1 a out0 0=8 1=16 5=0 6=256"
    assert shapes("Reshape rows 1 1 in0 a 0=-1 1=2", conv) == ["[CHANNELS, HEIGHT, WIDTH]"]


def test_a_step_of_diffusion_that_gets_an_axis_is_a_single_number() -> None:
    layers = [
        "ExpandDims axis 1 1 in0 a -23303=1,1",
        "MemoryData frequencies 0 1 f 0=16",
        "Reshape flat 1 1 a b 0=1",
        "BinaryOp phase 2 1 b f p 0=2",
        "InnerProduct fc 1 1 p out0 0=64 1=0 2=1024",
    ]
    assert shapes(*layers) == ["[1]"]


# -- channels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resize", "channels"),
    [("Interp half 1 1 in0 a 0=2 1=0.5 2=0.5", 12), ("Pooling pool 1 1 in0 a 0=1 1=2 2=2", 12),
     ("PixelShuffle up 1 1 in0 a 0=2", 48), ("Reorg down 1 1 in0 a 0=2", 3)],
)  # fmt: skip
def test_channels_are_told_by_the_convolution_behind_a_resize(resize: str, channels: int) -> None:
    conv = "Convolution conv 1 1 a out0 0=8 1=3 4=1 6=864"
    assert shapes(resize, conv) == [f"[{channels}, HEIGHT, WIDTH]"]


# -- values of a logarithm or a root ------------------------------------------------------------

ROWS = "Gemm fc 1 1 z out0 2=0 3=1 4=0 5=1 6=1 8=24 9=16 10=4"


@pytest.mark.parametrize(
    "layers",
    [
        ["UnaryOp log 1 1 in0 z 0=8"],
        ["BinaryOp eps 1 1 in0 a 0=0 1=1 2=1e-5", "UnaryOp log 1 1 a z 0=8"],
        ["BinaryOp half 1 1 in0 a 0=2 1=1 2=0.5", "UnaryOp root 1 1 a z 0=5"],
        ["BinaryOp power 1 1 in0 z 0=6 1=1 2=0.3"],
        ["Power power 1 1 in0 z 0=0.5"],
        ["Log log 1 1 in0 z"],
        ["Split fork 1 2 in0 a b", "UnaryOp log 1 1 a z 0=17", "ReLU other 1 1 b c"],
    ],
)
def test_what_is_put_into_a_logarithm_or_a_root_is_positive(layers: list[str]) -> None:
    (source,) = sources(*layers, ROWS)
    assert source == "{random: uniform, low: 0.001, high: 1, shape: [LENGTH, 16]}"


@pytest.mark.parametrize(
    "layers",
    [
        ["UnaryOp square 1 1 in0 a 0=4", "UnaryOp root 1 1 a z 0=5"],
        ["AbsVal size 1 1 in0 a", "UnaryOp log 1 1 a z 0=8"],
        ["BinaryOp negated 1 1 in0 a 0=2 1=1 2=-1", "UnaryOp root 1 1 a z 0=5"],
        ["BinaryOp cube 1 1 in0 z 0=6 1=1 2=3.0"],
        ["UnaryOp exp 1 1 in0 z 0=7"],
    ],
)
def test_what_may_be_negative_is_of_both_signs(layers: list[str]) -> None:
    assert sources(*layers, ROWS) == ["{random: normal, shape: [LENGTH, 16]}"]


def test_a_spectrum_for_convolutions_is_positive_and_smooth() -> None:
    layers = ["UnaryOp log 1 1 in0 z 0=8", "Convolution1D conv 1 1 z out0 0=8 1=3 6=1920"]
    assert sources(*layers) == ["{random: smooth, low: 0.001, high: 1, shape: [80, LENGTH]}"]
