"""Which convolutions compute by winograd, and in what tiles."""

import pytest
from written_graphs import fed

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.winograd import may_use_winograd, padding, tile_on_vulkan


def layer(line: str) -> Layer:
    operator, *params = line.split()
    return fed(f"{operator} conv 1 1 in0 out0 {' '.join(params)}").layers[1]


@pytest.mark.parametrize(
    ("line", "may"),
    [
        ("Convolution 0=32 1=3 4=1", True),
        ("Convolution 0=32 1=3 11=3 2=1 12=1 3=1", True),
        ("Convolution1D 0=32 1=3", True),
        ("Convolution 0=32 1=3 31=64", False),
        ("Convolution 0=32 1=3 31=18", True),
        ("Convolution 0=32 1=1", False),
        ("Convolution 0=32 1=3 11=1", False),
        ("Convolution 0=32 1=3 2=2", False),
        ("Convolution 0=32 1=3 12=2", False),
        ("Convolution 0=32 1=3 3=2", False),
        ("Convolution 0=32 1=3 13=2", False),
        ("Convolution 0=32", False),
        ("ConvolutionDepthWise 0=32 1=3 7=32", False),
        ("Deconvolution 0=32 1=3", False),
    ],
)
def test_which_layers_may_use_winograd(line: str, may: bool) -> None:
    assert may_use_winograd(layer(line)) is may


WIDE = "Convolution 0=32 1=3 4=1 6=9216"


@pytest.mark.parametrize(
    ("line", "size", "tile", "on_discrete"),
    [
        (WIDE, (34, 34), 4, 4),
        (WIDE, (12, 12), 2, 2),
        (WIDE, (12, 13), 4, 2),
        (WIDE, (18, 18), 4, 2),
        (WIDE, (19, 18), 4, 4),
        (WIDE, (23, 24), 4, 2),
        (WIDE, (22, 24), 4, 4),
        (f"{WIDE} 31=1", (34, 34), 4, 4),
        ("Convolution 0=16 1=3 6=2304", (34, 34), 4, 4),
        ("Convolution 0=15 1=3 6=2160", (34, 34), None, None),
        ("Convolution 0=16 1=3 6=2160", (34, 34), None, None),
        ("Convolution 0=32 1=3 3=2 6=9216", (34, 34), None, None),
        (f"{WIDE} 31=64", (34, 34), None, None),
        (f"{WIDE} 31=16", (34, 34), None, None),
        (f"{WIDE} 31=18", (34, 34), None, None),
        (f"{WIDE} 8=2", (34, 34), None, None),
        ("Convolution 0=32 1=3 6=9216 19=1", (34, 34), None, None),
        ("Convolution1D 0=32 1=3 6=3072", (34, 34), None, None),
    ],
)
def test_in_what_tiles_vulkan_takes_it(
    line: str, size: tuple[int, int], tile: int | None, on_discrete: int | None
) -> None:
    assert tile_on_vulkan(layer(line), *size, discrete=False) == tile
    assert tile_on_vulkan(layer(line), *size, discrete=True) == on_discrete


@pytest.mark.parametrize(
    ("params", "sides"),
    [
        ("", (0, 0, 0, 0)),
        ("4=1", (1, 1, 1, 1)),
        ("4=1 14=2", (2, 2, 1, 1)),
        ("4=1 15=2 14=3 16=4", (3, 4, 1, 2)),
        ("4=-233", (1, 1, 1, 1)),
    ],
)
def test_what_is_added_around_the_input(params: str, sides: tuple[int, int, int, int]) -> None:
    """Above, below, before and after it; a negative number asks for an output of the input's size."""
    assert padding(layer(f"{WIDE.replace(' 4=1', '')} {params}")) == sides
