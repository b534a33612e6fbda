"""Operators with weights in int8 whose input has no scale of its own: wrong ones are told by matrix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import networks
import numpy as np
import pytest
from conftest import Gate
from quantized import INT8_WEIGHTS, to_int8

pytestmark = pytest.mark.since_ncnn("1.0.20261020", "these operators have no int8")

WORDS, WIDTH, HIDDEN, OUTPUTS = 50, 16, 20, 8
TEXT = "inputs: {text: {in0: {file: words.npy}}}\n"
SPEC = f"""\
{TEXT}compare: [{{name: int8, candidate: {{device: cpu, model: {{param: int8.param, bin: int8.bin}}}}}}]
"""


@dataclass
class Layer:
    """`matrices` by name, (rows, columns), those in `by_one_scale` with one for all rows; what else lies
    behind each of them; `term`: the parameter that says int8, and what int8 changes of the others.
    """

    line: str
    matrices: dict[str, np.ndarray]
    behind: dict[str, list[np.ndarray]] = field(default_factory=dict)
    by_one_scale: tuple[str, ...] = ()
    tagged: bool = True
    term: str = "8=2"
    turned: bool = False

    @property
    def name(self) -> str:
        return self.line.split()[1]


def layers() -> Iterator[Layer]:
    rng = np.random.RandomState(1)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    embed = f"Embed embed 1 1 in0 a 0={WIDTH} 1={WORDS} 3={WORDS * WIDTH}"
    yield Layer(embed, {"weight": drawn(WORDS, WIDTH)}, by_one_scale=("weight",), term="18=2")
    rows = 4 * HIDDEN
    yield Layer(
        f"LSTM lstm 1 1 a b 0={WIDTH} 1={rows * WIDTH} 3={HIDDEN}",
        {"weight_xc": drawn(rows, WIDTH), "weight_hc": drawn(rows, WIDTH)},
        {"weight_xc": [drawn(rows)], "weight_hc": [drawn(WIDTH, HIDDEN)]},
    )
    rows = 2 * 3 * WIDTH
    yield Layer(
        f"GRU gru 1 1 b c 0={WIDTH} 1={rows * WIDTH} 2=2",
        {"weight_xc": drawn(rows, WIDTH), "weight_hc": drawn(rows, WIDTH)},
        {"weight_xc": [drawn(2 * 4 * WIDTH)]},
    )
    yield Layer(
        f"RNN rnn 1 1 c d 0={WIDTH} 1={2 * WIDTH * WIDTH}",
        {"weight_xc": drawn(WIDTH, 2 * WIDTH), "weight_hc": drawn(WIDTH, WIDTH)},
        {"weight_xc": [drawn(WIDTH)]},
    )
    names = ("q_weight", "k_weight", "v_weight", "out_weight")
    yield Layer(
        f"MultiHeadAttention attention 1 1 d e 0={WIDTH} 1=2 2={WIDTH * WIDTH}",
        {name: drawn(WIDTH, WIDTH) for name in names},
        {name: [drawn(WIDTH)] for name in names},
        ("out_weight",),
        tagged=False,
        term="18=2",
    )
    yield Layer(
        f"Gemm gemm 1 1 e out0 2=0 3=0 4=0 5=1 6=1 7=0 8={OUTPUTS} 9={WIDTH} 10=4",
        {"B": drawn(OUTPUTS, WIDTH)},
        {"B": [drawn(OUTPUTS)]},
        ("B",),
        term="18=2 3=1",
        turned=True,
    )


def write(
    folder: Path,
    faults: Mapping[str, str] = MappingProxyType({}),
    factor: float = 4.0,
    biased: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """The model in floats and in int8. `faults`: by layer, the matrix in which the scale of the last
    row, or of all, is stored `factor` times too large. `biased`: that whose first bias is off.
    """
    floats, int8 = bytearray(), bytearray()
    lines, in_int8 = ["Input input 0 1 in0"], ["Input input 0 1 in0"]
    for layer in layers():
        scales = {}
        for name, matrix in layer.matrices.items():
            floats += bytes(4) + (matrix.T if layer.turned else matrix).tobytes()
            largest = np.abs(matrix).max(None if name in layer.by_one_scale else 1)
            scale = np.atleast_1d(np.float32(127.0) / largest).astype(np.float32)
            rounded = to_int8(matrix, scale[:, None]).tobytes()
            int8 += INT8_WEIGHTS.tobytes() + rounded + bytes(-len(rounded) % 4)
            if faults.get(layer.name) == name:
                scale[-1] *= factor
            scales[name] = scale
            for further in layer.behind.get(name, []):
                floats += bytes(4 * layer.tagged) + further.tobytes()
                wrong = further.copy()
                wrong[:1] += 3.0 * (biased.get(layer.name) == name)
                int8 += bytes(4 * layer.tagged) + wrong.tobytes()
        int8 += b"".join(scale.tobytes() for scale in scales.values())
        lines.append(layer.line)
        in_int8.append(f"{layer.line} {layer.term}")
    for stem, content, text in (("net", floats, lines), ("int8", int8, in_int8)):
        head = ["7767517", f"{len(text)} {len(text)}"]
        (folder / f"{stem}.param").write_text("\n".join([*head, *text, ""]), "utf-8")
        (folder / f"{stem}.bin").write_bytes(content)
    np.save(folder / "words.npy", np.random.RandomState(2).randint(0, WORDS, 12).astype(np.int32))
    networks.spec(folder, SPEC)


def test_weights_that_are_rounded_are_green(gate: Gate, pytester: pytest.Pytester) -> None:
    write(pytester.path)
    run = gate()
    assert run.ids("failed") == run.ids("skipped") == []
    assert len(run.ids("passed")) == 6 + 1


# Each layer is judged on the reference's inputs, so that a fault in one is none in those behind it.
FIRST_TO_FOURTH = range(4)  # matrices of each layer that has as many


def numbered(number: int, *, with_bias: bool = False) -> dict[str, str]:
    """By layer, the name of its matrix of this number; of those that have a bias of their own."""
    found = {}
    for layer in layers():
        names = [
            one
            for one in layer.matrices
            if not with_bias or (one in layer.behind and one != "weight_hc")
        ]
        if number < len(names):
            found[layer.name] = names[number]
    return found


@pytest.mark.parametrize("number", FIRST_TO_FOURTH)
def test_a_wrong_scale_is_red_and_its_matrix_is_named(
    gate: Gate, pytester: pytest.Pytester, number: int
) -> None:
    faults = numbered(number)
    write(pytester.path, faults)
    run = gate("--ncnn-parity-fix=off")
    for layer, matrix in faults.items():
        case = run.cases[f"text::int8::{layer}"]
        assert (case["outcome"], case["cause"]) == ("failed", "quantization")
        (rows,) = {one.matrices[matrix].shape[0] for one in layers() if one.name == layer}
        wrong = rows if matrix in ("weight", "out_weight", "B") else 1
        assert f"weights of {wrong} of {rows} rows of {matrix} (" in case["message"]
        assert re.search(r"their scales were divided by (4|3\.9\d)\b", case["message"])
    assert {name.rpartition("::")[2] for name in run.ids("failed")} - {"output:out0"} == faults.keys()


@pytest.mark.parametrize("number", FIRST_TO_FOURTH)
def test_a_bias_that_is_not_the_one_in_floats_is_told(
    gate: Gate, pytester: pytest.Pytester, number: int
) -> None:
    """Where the .bin has a matrix's biases, the converter copies them."""
    faults = numbered(number, with_bias=True)
    write(pytester.path, biased=faults)
    run = gate("--ncnn-parity-fix=off")
    for layer, matrix in faults.items():
        case = run.cases[f"text::int8::{layer}"]
        assert (case["outcome"], case["cause"]) == ("failed", "quantization")
        (count,) = {len(one.behind[matrix][0]) for one in layers() if one.name == layer}
        assert f"1 of its {count} biases behind {matrix} (0) are off by up to 3, more" in case["message"]
        assert "its biases are not those in floats" in case["headline"]


@pytest.mark.parametrize(
    ("layer", "scale"), [*((layer, np.nan) for layer in layers()), (next(layers()), np.inf)]
)
def test_a_scale_that_is_nan_is_the_files_fault_and_one_that_is_inf_is_not(
    gate: Gate, pytester: pytest.Pytester, layer: Layer, scale: float
) -> None:
    """ncnn2table writes inf for weights that are all 0."""
    write(pytester.path, {layer.name: next(iter(layer.matrices))}, scale)
    text = (pytester.path / "int8.param").read_text("utf-8")
    on_the_cpu = re.sub("^Gemm.*$", r"\g<0> 31=16", text, flags=re.MULTILINE)  # its shader kills ncnn
    (pytester.path / "int8.param").write_text(on_the_cpu, "utf-8")
    networks.spec(pytester.path, f"{TEXT}compare: [cpu-vs-vulkan]\n", "int8")
    case = gate("--ncnn-parity-fix=off", "int8.parity.yaml").cases[f"text::cpu-vs-vulkan::{layer.name}"]
    expected = ("failed", "conversion") if np.isnan(scale) else ("skipped", None)
    assert (case["outcome"], case["cause"]) == expected, case["message"]
    if np.isnan(scale):
        assert "1 of its weights and scales is inf or nan in the file" in case["headline"]
