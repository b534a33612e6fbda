"""The values that the keys of a spec may not have: each is reported with its place."""

import re
from pathlib import Path

import pytest
from spec_texts import LEAST, errors


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
@pytest.mark.parametrize("key", ["atol", "rtol", "scaled", "cosine", "sqnr_db", "share"])
def test_a_tolerance_must_be_finite(key: str, value: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST + f"tolerance: {{fp16: {{{key}: {value}}}}}")
    assert error.startswith(f"3:{22 + len(key)}: tolerance.fp16.{key}: ")
    assert re.search(r"found -?(nan|inf)$", error)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("atol: -1", "0 or more"),
        ("rtol: -1e-09", "0 or more"),
        ("scaled: -0.1", "0 or more"),
        ("cosine: 1.01", "1 or less"),
        ("share: 2", "1 or less"),
        ("scaled: 5%", "a number"),
    ],
)
def test_a_tolerance_must_make_sense(budget: str, expected: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST + f"tolerance: {{fp16: {{{budget}}}}}")
    key, value = budget.split(": ")
    assert re.search(rf"tolerance\.fp16\.{key}: expected {expected}; found '?{value}'?$", error)


@pytest.mark.parametrize("value", ["0.5", "0", "-2", ".inf", ".nan", "high"])
@pytest.mark.parametrize("where", ["headroom: {}", "layers: {{conv: {{headroom: {}}}}}"])
def test_a_headroom_is_a_factor_of_one_and_more(where: str, value: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST + f"tolerance: {{{where.format(value)}}}")
    assert error.startswith("3:")
    assert "headroom: expected " in error


@pytest.mark.parametrize("where", ["fp16: {headroom: 2}", "outputs: {out0: {headroom: 2}}"])
def test_a_headroom_is_that_of_layers(where: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST + f"tolerance: {{{where}}}")
    assert "unknown key 'headroom'" in error


@pytest.mark.parametrize("where", ["headroom: 2", "layers: {conv: {headroom: 2}}"])
def test_a_headroom_that_nothing_judges_is_an_error(where: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST + f"compare: [shipped]\ntolerance: {{{where}}}")
    assert error == "4:12: tolerance: headroom is judged in fp16-range alone: add that to 'compare'"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{randm: normal}", "the keys random, constant, file, image; did you mean 'random'"),
        ("{random: norml}", "'normal', 'uniform', 'smooth' or 'integers'; found 'norml'"),
        ("{random: normal, sede: 1}", "unknown key 'sede'; did you mean 'seed'"),
        ("{random: normal, seed: -1}", "expected 0 or more; found -1"),
        ("{random: normal, std: .inf}", "finite number; found inf"),
        ("{random: uniform, low: 2, high: 1}", r"low \(2\) must be below high \(1\)"),
        ("{random: uniform, low: 1}", r"low \(1\) must be below high \(1\)"),
        ("{random: smooth, high: 0}", r"low \(0\) must be below high \(0\)"),
        ("{random: smooth, std: 1}", "the key 'std' goes with random: normal, not with smooth"),
        ("{random: uniform, mean: 1}", "the key 'mean' goes with random: normal, not with uniform"),
        ("{random: integers, low: 1}", "random: integers needs the key 'high', the largest"),
        ("{random: integers, high: 9.5}", r"high \(9.5\) must be a whole number of 32 bits"),
        ("{random: integers, high: 2147483648}", "must be a whole number of 32 bits"),
        ("{random: integers, low: 2, high: 1}", r"low \(2\) must be below high \(1\)"),
        ("{random: normal, shape: [3, 0]}", "expected 1 or more; found 0"),
        ("{random: normal, shape: []}", "at least 1 of them"),
        ("{random: normal, shape: [1, 2, 3, 4, 5]}", "at most 4 of them"),
        ("{constant: .nan}", "finite number; found nan"),
        ("{constant: 1e39}", r"3.40282e\+38 or less; found 1e\+39"),
        ("{random: normal, mean: -1e39}", r"-3.40282e\+38 or more; found -1e\+39"),
        ("{random: normal, std: -1}", "expected 0 or more; found -1"),
        ("{random: normal, shape: [3.0]}", "expected a whole number; found 3.0"),
        ("{random: normal, shape: [LENGTH, 4]}", "replace LENGTH by a number"),
        ("{image: in0.png, size: [WIDTH, 4]}", "replace WIDTH by a number"),
        ("{random: normal, shape: [height]}", "a whole number; found 'height'"),
        ("{random: normal, shape: [2147483648]}", "less than 2147483648"),
        (
            "{random: normal, shape: [100000, 100000, 100000]}",
            "has 1000000000000000 elements; expected at most 134217728",
        ),
        ("{image: a.png, size: [100000, 100000]}", r"shape \[3, 100000, 100000\] has 30000000000 el"),
        ("{image: a.png, mean: [1, 2]}", "mean has 2 values, and an image in rgb has 3 channels"),
        (
            "{image: a.png, color: gray, norm: [1, 2, 3]}",
            "norm has 3 values, .*image in gray has 1 channel$",
        ),
        ("{image: a.png, norm: [1, 1, .inf]}", "finite number; found inf"),
        ("{constant: '1'}", "found '1'"),
        ("{image: a.png, color: rbg}", "'rgb', 'bgr' or 'gray'; found 'rbg'"),
        ("{image: a.png, size: [3]}", "at least 2 of them"),
        ("{file: ''}", "text that is not empty"),
        ("nothing", "with one of the keys"),
    ],
)
def test_a_wrong_source(source: str, error: str, tmp_path: Path) -> None:
    (message,) = errors(tmp_path, LEAST.replace("{random: normal}", source))
    assert re.match(r"2:\d+: (inputs\.noise\.in0|unknown key)", message)
    assert re.search(error, message)


def test_a_source_of_two_kinds_is_not_guessed_at_with_its_own_word(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, LEAST.replace("random: normal", "file: a.npy, image: a.png"))
    assert error.startswith("2:37: ")
    assert "did you mean 'image'" not in error


def test_what_is_quoted_is_short_and_can_be_printed(tmp_path: Path) -> None:
    long = '"' + r"\e\u202e\u2028" * 1000 + '"'
    for text in (f"masks: {{{long}: {long}}}", f"{long}: 1", f"compare: [{long}]", f"layers: {long}"):
        (message,) = errors(tmp_path, LEAST + text)
        assert message.isprintable()
        assert len(message) < 400


@pytest.mark.parametrize(
    ("candidate", "error"),
    [
        ("device: gpu", "3:43: .*cpu, vulkan, or vulkan:N with .*; found 'gpu'"),
        ("precision: fp8", "3:46: .*'fp32', 'fp16'.*; found 'fp8'"),
        ("options: {num_threads: 0}", "3:44: .*num_threads: expected 1 to 1024"),
        ("options: {num_threads: 100000}", "3:44: .*num_threads: expected 1 to 1024"),
        ("options: {num_threads: 1e2}", "3:58: .*a whole number of 32 bits; found 100.0"),
        ("options: {__class__: 1}", "3:45: .*expected the name of an option of ncnn"),
        ("options: {use_x: 99999999999}", "3:52: .*; found 99999999999"),
        ("options: {use_vulkan_compute: 1}", "3:44: .*is set by the key 'device'"),
    ],
)
def test_a_wrong_setup(candidate: str, error: str, tmp_path: Path) -> None:
    text = f"compare: [{{name: own, candidate: {{{candidate}}}}}]"
    (message,) = errors(tmp_path, LEAST + text)
    assert re.match(error, message)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("- model", "1:1: the spec: expected a mapping with keys such as model, inputs, outputs, setup"),
        (
            "model: a.param\ninputs: {}",
            "1:8: model: expected a mapping with keys such as param, bin; found 'a.param'",
        ),
        (f"{LEAST}compare: true", "3:10: compare: expected a list; found true"),
        (f"{LEAST}compare: ' '", "3:10: compare: expected a list; found ' '"),
        (
            f"{LEAST}setup: 1{'0' * 99}",
            f"3:8: setup: expected text: put quotes around it, '1{'0' * 56}...'; found",
        ),
        (f"{LEAST}compare: shipped", "3:10: compare: expected a list: write [shipped]; found 'shipped'"),
        (f"{LEAST}known: {{}}", "3:8: known: expected a list; found {}"),
        (f"{LEAST}masks: 18", "3:8: masks: expected a mapping, key: value; found 18"),
        (f"{LEAST}tolerance: {{fp8: {{}}}}", "3:13: unknown key 'fp8'; there are fp32, fp16, "),
        (
            f"{LEAST}compare: [{{name: a, candidate: {{model: b.param}}}}]",
            "3:40: compare.0.candidate.model: expected a mapping with keys such as param, bin; found 'b",
        ),
        (
            f"{LEAST}compare: [{{name: a, candidate: vulkan}}]",
            "3:32: compare.0.candidate: expected a mapping with keys such as device, precision, options",
        ),
        (f"{LEAST}masks: {{conv: true}}", "3:15: masks.conv: expected a whole number; found true"),
        (f"{LEAST}xyzzy: 1", "3:1: unknown key 'xyzzy'; there are model, inputs, outputs, setup, "),
    ],
)
def test_types_are_those_of_yaml_and_keys_are_listed(text: str, error: str, tmp_path: Path) -> None:
    first = errors(tmp_path, text)[0]
    assert first.startswith(error)
    assert "dictionary" not in first
