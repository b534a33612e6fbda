"""What layers behind one with weights make of its outputs, so what may be folded into its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_layers import stored

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.worker.weights.folded import UNFOLDED, Affine, made_of

CORE = "Convolution c 1 1 in0 c 0=2 1=1 5=1 6=4"
HELD = "MemoryData k 0 1 k"
OF_EACH = [3.0, -4.0]


def made(
    folder: Path, *lines: str, core: str = CORE, numbers: dict[str, list[float]] | None = None
) -> Affine | None:
    """What the layers `lines` make of the two outputs of `core`; by layer, the `numbers` of the file."""
    content = {name: np.array(read, np.float32).tobytes() for name, read in (numbers or {}).items()}
    graph, source = stored(folder, [core, *lines], content)
    own = next(layer for layer in graph.layers if layer.name == "c")
    return made_of(own, graph.layers[1:], 2, source)


def numbers_of(affine: Affine | None) -> tuple[list[float], list[float]]:
    assert affine is not None

    def listed(one: Array) -> list[float]:
        return [round(float(x), 6) for x in np.broadcast_to(one, 2)]

    return listed(affine.factors), listed(affine.offsets)


@pytest.mark.parametrize(
    ("operation", "inputs", "factors", "offsets"),
    [
        ("0", "c k", [1, 1], OF_EACH),
        ("1", "c k", [1, 1], [-3, 4]),
        ("1", "k c", [-1, -1], OF_EACH),
        ("7", "c k", [-1, -1], OF_EACH),
        ("7", "k c", [1, 1], [-3, 4]),
        ("2", "k c", OF_EACH, [0, 0]),
        ("3", "c k", [0.333333, -0.25], [0, 0]),
        ("8", "k c", [0.333333, -0.25], [0, 0]),
    ],
)
@pytest.mark.parametrize("shape", ["0=2", "0=1 1=1 2=2"])
def test_a_binary_operator_with_a_constant(
    operation: str, inputs: str, factors: list[float], offsets: list[float], shape: str, tmp_path: Path
) -> None:
    line = f"BinaryOp o 2 1 {inputs} out0 0={operation}"
    found = made(tmp_path, f"{HELD} {shape}", line, numbers={"k": OF_EACH})
    assert numbers_of(found) == (factors, offsets)


@pytest.mark.parametrize(
    ("line", "factors", "offsets"),
    [
        ("BinaryOp o 1 1 c out0 0=2 1=1 2=0.5", [0.5, 0.5], [0, 0]),
        ("BinaryOp o 1 1 c out0 0=1 1=1 2=3e0", [1, 1], [-3, -3]),
        ("BinaryOp o 1 1 c out0 0=7 1=1 2=3", [-1, -1], [3, 3]),
        ("Dropout o 1 1 c out0 0=0.25", [0.25, 0.25], [0, 0]),
        ("ReLU o 1 1 c out0", [1, 1], [0, 0]),
        ("Split o 1 2 c a b", [1, 1], [0, 0]),
    ],
)
def test_numbers_of_the_line(
    line: str, factors: list[float], offsets: list[float], tmp_path: Path
) -> None:
    assert numbers_of(made(tmp_path, line)) == (factors, offsets)


def test_one_constant_for_all_outputs_and_one_for_each_of_a_product(tmp_path: Path) -> None:
    times = "BinaryOp o 2 1 c k out0 0=2"
    assert numbers_of(made(tmp_path, f"{HELD} 0=1", times, numbers={"k": [5.0]}))[0] == [5, 5]
    product = "InnerProduct c 1 1 in0 c 0=2 1=1 2=8"
    of_each = {"k": OF_EACH}
    found = made(tmp_path, f"{HELD} 0=2", times, core=product, numbers=of_each)
    assert numbers_of(found)[0] == OF_EACH
    assert made(tmp_path, f"{HELD} 0=1 1=1 2=2", times, core=product, numbers=of_each) is None


def test_norms_and_what_follows_them(tmp_path: Path) -> None:
    slope, mean, variance, shift = np.arange(1.0, 9.0).reshape(4, 2)
    found = made(
        tmp_path,
        "BatchNorm n 1 1 c n 0=2 1=0.5",
        "Split s 1 1 n t",
        "Scale s2 1 1 t u 0=2 1=1",
        "ReLU r 1 1 u out0",
        numbers={"n": [*slope, *mean, *variance, *shift], "s2": [2.0, -3.0, 10.0, 20.0]},
    )
    assert found is not None
    factors = slope / np.sqrt(variance + 0.5)
    assert found.factors == pytest.approx(factors * [2.0, -3.0])
    assert found.offsets == pytest.approx((shift - mean * factors) * [2.0, -3.0] + [10.0, 20.0])
    assert found.sizes == pytest.approx((shift + mean * factors) * [2.0, 3.0] + [10.0, 20.0])


@pytest.mark.parametrize(
    "lines",
    [
        ["UnaryOp o 1 1 c out0 0=4"],
        ["BinaryOp o 2 1 c c out0 0=2"],
        [f"{HELD} 0=2", "BinaryOp o 2 1 k c out0 0=3"],
        [f"{HELD} 0=2 1=2", "BinaryOp o 2 1 c k out0 0=2"],  # not one for each output
        ["ReLU r 1 1 c r", "BinaryOp o 1 1 r out0 0=2 1=1 2=0.5"],
        ["BinaryOp o 1 1 c out0 0=3 1=1 2=0"],
        ["BinaryOp o 1 1 c out0 0=2 1=1 2=x"],
        ["BinaryOp a 1 1 c a 0=2 1=1 2=3", "BinaryOp b 1 1 c b 0=2 1=1 2=3"],
        ["BatchNorm n 1 1 c n 0=3"],
    ],
)
def test_what_is_not_known(lines: list[str], tmp_path: Path) -> None:
    assert made(tmp_path, *lines, numbers={"k": [1.0, 2.0, 3.0, 4.0]}) is None


def test_nothing_is_known_of_what_an_activation_inside_makes(tmp_path: Path) -> None:
    assert made(tmp_path, core=f"{CORE} 9=1") == UNFOLDED
    assert made(tmp_path, "Dropout o 1 1 c out0 0=2.0", core=f"{CORE} 9=1") is None


def test_what_is_in_front_is_not_folded_if_it_only_copies_or_activates(tmp_path: Path) -> None:
    behind = "Convolution c 1 1 p c 0=2 1=1 5=1 6=4", "BinaryOp o 1 1 c out0 0=2 1=1 2=3"
    for front in ("Padding p 1 1 in0 p 0=1", "ReLU p 1 1 in0 p"):
        assert numbers_of(made(tmp_path, *behind, core=front)) == ([3, 3], [0, 0])
    assert made(tmp_path, *behind, core="BinaryOp p 1 1 in0 p 0=2 1=1 2=3") is None


def test_a_constant_may_stand_in_front_and_be_copied(tmp_path: Path) -> None:
    lines = "Split s 1 2 k x y", CORE, "BinaryOp o 2 1 c y out0 0=2"
    found = made(tmp_path, *lines, core=f"{HELD} 0=2", numbers={"k": OF_EACH})
    assert numbers_of(found) == (OF_EACH, [0, 0])


def test_what_one_model_has_folded_and_the_other_in_part(tmp_path: Path) -> None:
    plus = "BinaryOp p 1 1 t out0 0=0 1=1 2=8"
    whole = made(tmp_path, "BinaryOp t 1 1 c t 0=2 1=1 2=4", plus)
    half = made(tmp_path, "BinaryOp t 1 1 c t 0=2 1=1 2=2", plus)
    zero = made(tmp_path, "BinaryOp t 1 1 c t 0=2 1=1 2=0", plus)
    assert whole is not None
    assert half is not None
    assert zero is not None
    assert numbers_of(whole.beside(half)) == ([2, 2], [0, 0])
    assert numbers_of(whole.beside(UNFOLDED)) == ([4, 4], [8, 8])
    assert numbers_of(UNFOLDED.beside(half)) == ([0.5, 0.5], [-4, -4])
    assert whole.beside(zero) is None
