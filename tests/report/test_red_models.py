"""The last lines of a run: for each red model its layer, the cause and the fix, on one line."""

from __future__ import annotations

from typing import Any

import pytest
from documents import case, document, fix, layer, message, model, red

from pytest_ncnn_parity.report.text import red_models

MASKS = {"sum_15": 18, "eps_15": 18, "rsqrt_15": 18}


def of(spec: str, *cases: Any, **more: Any) -> Any:
    return model(list(cases), [layer(one["layer"] or "x") for one in cases], spec=spec, **more)


def lines(*models: Any, width: int = 80) -> list[str]:
    return list(red_models.lines(document(*models), width))


def test_green_models_have_none() -> None:
    green = of("a.parity.yaml", case("l1"))
    broken = of("b.parity.yaml", red("l1"), fixes=[fix("l1")])
    assert lines(green) == []
    assert lines(green, broken) == ["b.parity.yaml: l1 (ReLU): storage-overflow; fix: 31=18 on l1"]


@pytest.mark.parametrize(
    ("width", "verified", "line"),
    [
        (
            200,
            True,
            "m/style_decoder/style_decoder.parity.yaml: sum_15 (Reduction): storage-overflow; "
            "fix: 31=18 on sum_15, eps_15, rsqrt_15",
        ),
        (
            80,
            True,
            "style_decoder: sum_15: storage-overflow; fix: 31=18 on sum_15, eps_15, rsqrt_15",
        ),
        (75, True, "style_decoder: sum_15: storage-overflow; fix: 31=18 on sum_15 and 2 more"),
        (80, False, "style_decoder: sum_15: storage-overflow; fix, NOT verified: 31=18 on 3 layers"),
        (40, True, "..._decoder: sum_15: storage-overflow..."),
    ],
)
def test_what_does_not_fit_is_left_out(width: int, verified: bool, line: str) -> None:
    masked = fix("sum_15", masks=MASKS, verified=verified)
    cases = [red("sum_15", type="Reduction"), red("sum_15", sample="other", type="Reduction")]
    decoder = of("m/style_decoder/style_decoder.parity.yaml", *cases, fixes=[masked])
    assert lines(decoder, width=width) == [line]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (120, "a.parity.yaml: sum_15 (ReLU): storage-overflow on random input; "
              "fix: 31=18 on sum_15, eps_15, rsqrt_15"),
        (80, "a: sum_15: storage-overflow on random input; fix: 31=18 on sum_15 and 2 more"),
        (60, "a: sum_15: storage-overflow; fix: 31=18 on sum_15 and 2 more"),
    ],
)  # fmt: skip
def test_that_the_input_is_doubted_is_said_where_there_is_room(width: int, line: str) -> None:
    masked = fix("sum_15", masks=MASKS)
    assert lines(of("a.parity.yaml", red("sum_15"), fixes=[masked], input_doubt=["x"]), width=width) == [
        line
    ]


def test_the_first_layer_stands_for_all_and_an_output_where_there_is_none() -> None:
    output = red("x", layer=None, output="out0", type=None)
    later, first = red("l7", number=7), red("l3", "underflow", number=3)
    (line,) = lines(of("a.parity.yaml", output, later, first), width=120)
    assert line.startswith("a.parity.yaml: l3 (ReLU) and 1 more: underflow: inf on vulkan")
    (line,) = lines(of("a.parity.yaml", output), width=120)
    assert line.startswith("a.parity.yaml: output out0: storage-overflow: ")


def test_no_fix_and_an_error_are_told_as_such() -> None:
    none = fix("l1", masks={}, lines=[], how="every mask is wrong")
    assert lines(of("a.parity.yaml", red("l1"), fixes=[none])) == [
        "a.parity.yaml: l1 (ReLU): storage-overflow; no fix: every mask is wrong"
    ]
    error = red("l1", cause=None, **message("the engine died\nof this"))
    assert lines(of("a.parity.yaml", error)) == ["a.parity.yaml: the engine died"]


def test_specs_of_one_name_keep_what_tells_them_apart() -> None:
    specs = [f"{name}/net.parity.yaml" for name in ("old", "new")]
    shown = lines(*(of(spec, red("l1"), fixes=[fix("l1")]) for spec in specs))
    assert [line.partition(":")[0] for line in shown] == specs
