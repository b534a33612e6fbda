"""The last lines of a run: for each red model its layer, the cause and the fix."""

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
    ("width", "verified", "shown"),
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
        (
            75,
            True,
            "style_decoder.parity.yaml: sum_15 (Reduction): storage-overflow\n"
            "  fix: 31=18 on sum_15, eps_15, rsqrt_15",
        ),
        (
            80,
            False,
            "m/style_decoder/style_decoder.parity.yaml: sum_15 (Reduction): storage-overflow\n"
            "  fix, NOT verified: 31=18 on sum_15, eps_15, rsqrt_15",
        ),
        (
            50,
            False,
            "style_decoder: sum_15: storage-overflow\n  fix, NOT verified: 31=18 on sum_15 and 2 more",
        ),
        (
            38,
            True,
            "...e_decoder: sum_15: storage-overflow\n  fix: 31=18 on sum_15 and 2 more",
        ),
    ],
)
def test_what_does_not_fit_is_left_out(width: int, verified: bool, shown: str) -> None:
    masked = fix("sum_15", masks=MASKS, verified=verified)
    cases = [red("sum_15", type="Reduction"), red("sum_15", sample="other", type="Reduction")]
    decoder = of("m/style_decoder/style_decoder.parity.yaml", *cases, fixes=[masked])
    assert lines(decoder, width=width) == shown.split("\n")


def test_a_worker_that_cannot_be_reached_is_named_last_and_not_blamed_on_the_input() -> None:
    doubt = {"input_doubt": ["the input may be at fault"]}
    lost = red("l0", cause="worker", comparison="board", number=0)
    wrong = red("l1", number=1)
    assert lines(of("a.parity.yaml", lost, wrong, **doubt))[0] == (
        "a: l1: storage-overflow on random input; inf on vulkan fp16, 3 of 3 elements"
    )
    (line,) = lines(of("a.parity.yaml", lost, **doubt))
    assert line.startswith("a.parity.yaml: l0 (ReLU): worker; ")


def test_a_case_that_was_interrupted_is_named_where_no_other_is_red() -> None:
    interrupted = red("l0", cause=None, number=0, **message("Timeout (>1.0s) from pytest-timeout."))
    predicted = red("l1", number=1, comparison="fp16-range", fix="fp16-range")
    fixed = of("a.parity.yaml", interrupted, predicted, fixes=[fix("l1", "fp16-range")])
    assert lines(fixed, width=120) == ["a.parity.yaml: l1 (ReLU): storage-overflow; fix: 31=18 on l1"]
    unread = message("/p/a.parity.yaml:4:5: inputs.s.in0: gone.npy does not exist")
    unread["headline"] = "inputs.s.in0: gone.npy does not exist"
    assert lines(of("a.parity.yaml", red("l0", cause=None, **unread))) == [
        "a.parity.yaml: inputs.s.in0: gone.npy does not exist"
    ]
    assert lines(of("a.parity.yaml", interrupted)) == [
        "a.parity.yaml: Timeout (>1.0s) from pytest-timeout."
    ]


def test_files_that_do_not_load_are_no_fault_of_the_layer_that_reports_it() -> None:
    short = red("l0", cause="load", headline="net.bin: too short")
    assert lines(of("a.parity.yaml", short)) == ["a.parity.yaml: load; net.bin: too short"]


def test_of_many_masks_as_many_are_named_as_fit_and_where_the_others_are() -> None:
    some = fix("l0", masks={f"layer_{n}": 18 - n % 2 for n in range(9)})
    first, second = lines(of("a.parity.yaml", red("l0"), fixes=[some]))
    assert first == "a.parity.yaml: l0 (ReLU): storage-overflow"
    assert second == "  fix: 31=18 on layer_0, layer_2, layer_4, layer_6, layer_8 and 4 more, above"
    masks = {f"l{n}": 1 for n in range(500)}
    many = fix("l0", masks=masks, lines=["line"] * 500, alternatives=[])
    _, second = lines(of("a.parity.yaml", red("l0"), fixes=[many]))
    assert second.startswith("  fix: 31=1 on l0, l1, l2, ")
    assert second.endswith(" more, with --ncnn-parity-fix=write")
    assert len(second) <= 80


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (
            120,
            "a.parity.yaml: sum_15 (ReLU): storage-overflow on random input; "
            "fix: 31=18 on sum_15, eps_15, rsqrt_15",
        ),
        (
            80,
            "a.parity.yaml: sum_15 (ReLU): storage-overflow on random input\n"
            "  fix: 31=18 on sum_15, eps_15, rsqrt_15",
        ),
        (39, "a.parity.yaml: sum_15: storage-overflow\n  fix: 31=18 on sum_15 and 2 more"),
    ],
)
def test_that_the_input_is_doubted_is_said_where_there_is_room(width: int, shown: str) -> None:
    masked = fix("sum_15", masks=MASKS)
    doubted = of("a.parity.yaml", red("sum_15"), fixes=[masked], input_doubt=["x"])
    assert lines(doubted, width=width) == shown.split("\n")


def test_the_first_layer_is_named_for_all_and_an_output_where_there_is_none() -> None:
    output = red("x", layer=None, output="out0", type=None)
    later, first = red("l7", number=7), red("l3", "underflow", number=3)
    (line,) = lines(of("a.parity.yaml", output, later, first), width=120)
    assert line.startswith("a.parity.yaml: l3 (ReLU) and 1 more: underflow; inf on vulkan")
    (line,) = lines(of("a.parity.yaml", output), width=120)
    assert line.startswith("a.parity.yaml: output out0: storage-overflow; ")


def test_no_fix_and_an_error_are_reported_as_such() -> None:
    none = fix("l1", masks={}, lines=[], how="every mask is wrong")
    assert lines(of("a.parity.yaml", red("l1"), fixes=[none])) == [
        "a.parity.yaml: l1 (ReLU): storage-overflow; no fix: every mask is wrong"
    ]
    error = red("l1", cause=None, **message("the engine died\nof this"))
    assert lines(of("a.parity.yaml", error)) == ["a.parity.yaml: the engine died"]


@pytest.mark.parametrize("width", [40, 50, 60, 80])
@pytest.mark.parametrize("names", [("a", "b"), ("a/x/y/z", "b/x/y/z"), ("a" * 60 + "1", "a" * 60 + "2")])
def test_specs_of_one_name_keep_what_distinguishes_them(names: tuple[str, str], width: int) -> None:
    specs = [f"{name}/{'decoder' * 3}.parity.yaml" for name in names]
    shown = lines(*(of(spec, red("l1"), fixes=[fix("l1")]) for spec in specs), width=width)
    firsts = [line for line in shown if not line.startswith("  ")]
    assert len(set(firsts)) == 2
    assert all("l1" in line and "storage-overflow" in line for line in firsts)
    assert sum("fix: 31=18 on l1" in line for line in shown) == 2
    assert max(map(len, shown)) <= width


def test_of_a_long_message_the_spec_keeps_its_name() -> None:
    told = "inputs.portrait.in0: rec.npz: holds the arrays a, b, c, d and e: name one of them by 'key:'"
    unread = {**red("l1"), "cause": None, "headline": told}
    (line,) = lines(of("models/face/detector.parity.yaml", unread), width=60)
    assert line.startswith("detector: inputs.portrait.in0: ")
    assert len(line) <= 60
