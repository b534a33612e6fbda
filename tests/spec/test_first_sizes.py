"""Which sizes a first spec gives to an input of which the file states none."""

from __future__ import annotations

from first_specs import commented, shapes

PATCHES = ["Convolution patches 1 1 in0 a 0=8 1=4 3=4 6=384", "Reshape rows 1 1 a b 0=256 1=8"]


def test_a_map_that_is_laid_out_again_tells_a_size_that_is_not_square() -> None:
    """As in a reader of text: 8 rows of 32 patches, though 16 rows of 16 are as many."""
    again = "Reshape map 1 1 b c 0=32 1=8 2=8"
    layers = [*PATCHES, again, "Convolution last 1 1 c out0 0=4 1=1 6=32"]
    assert shapes(*layers) == ["[3, 32, 128]"]
    assert "# The shape is the one that fits all layers." in commented(*layers)[0]


def test_a_size_beside_which_others_fit_is_called_a_guess() -> None:
    (comments,) = commented(*PATCHES, "LayerNorm norm 1 1 b out0 0=256 1=1e-5")
    assert shapes(*PATCHES, "LayerNorm norm 1 1 b out0 0=256 1=1e-5") == ["[3, 64, 64]"]
    assert comments[0] == "# The size is a guess: [3, 32, 128], for one, fits all layers as well."


def test_height_and_width_are_searched_one_by_one() -> None:
    """A line of text: its height gives one row of features, and a Reshape states its width."""
    layers = [
        "Convolution column 1 1 in0 a 0=8 1=1 11=32 6=256",
        "Squeeze row 1 1 a b -23303=1,1",
        "Permute steps 1 1 b c 0=1",
        "LSTM lstm 1 1 c d 0=4 1=128 2=0",
        "Reshape text 1 1 d out0 0=4 1=25",
    ]
    assert shapes(*layers) == ["[1, 32, 25]"]
    assert shapes(*layers[:-1]) == ["[1, 32, WIDTH]"]


def test_a_size_that_only_fits_because_a_value_is_broadcast_is_none() -> None:
    """As in an encoder of sound: 2 steps would become 1, which is added to each of 50 positions."""
    layers = [
        "Convolution1D down 1 1 in0 a 0=8 1=3 3=2 4=1 6=960",
        "Permute rows 1 1 a b 0=1",
        "MemoryData positions 0 1 c 0=8 1=50",
        "BinaryOp add 2 1 b c out0",
    ]
    assert shapes(*layers) == ["[40, 100]"]
