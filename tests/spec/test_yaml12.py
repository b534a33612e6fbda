"""YAML as the 1.2 core schema has it: no traps, every problem with its place."""

import math
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.base.errors import Place
from pytest_ncnn_parity.spec import yaml12
from pytest_ncnn_parity.spec.yaml12 import YamlError


def problems(text: str) -> list[str]:
    with pytest.raises(YamlError) as caught:
        yaml12.load(text)
    return [f"{place}: {message}" for place, message in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.25", -0.25),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("010", 10),
        ("+7", 7),
        ("-7", -7),
        ("0x12", 18),
        ("0o22", 18),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("e3", "e3"),
        (".", "."),
        ("fp16", "fp16"),
        ("٣", "٣"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("''", ""),
    ],
)
def test_a_scalar(text: str, value: object) -> None:
    read = yaml12.load(f"key: {text}").data["key"]
    assert (type(read), read) == (type(value), value)


def test_nan_is_read_as_such() -> None:
    assert math.isnan(yaml12.load(".nan").data)


def test_block_text_stays_text() -> None:
    assert yaml12.load("key: |\n  18\n").data == {"key": "18\n"}


def test_keys_are_names_whatever_they_look_like() -> None:
    document = yaml12.load("on: 1\n16: 2\n1e-3: 3\nnull: 4\n")
    assert document.data == {"on": 1, "16": 2, "1e-3": 3, "null": 4}


@settings(deadline=None)
@given(st.integers() | st.floats(allow_nan=False))
def test_a_number_written_by_python_is_read_back(number: float) -> None:
    assert yaml12.load(f"[{number!r}]".replace("inf", ".inf")).data == [number]


PLAIN = st.text(st.sampled_from("abc01.:-_#{}[]'\",&*!|>%@` \n\té"), max_size=12)


@settings(deadline=None)
@given(st.recursive(PLAIN, lambda x: st.lists(x) | st.dictionaries(PLAIN, x), max_leaves=8))
def test_quoted_text_lists_and_mappings_survive(value: object) -> None:
    text = yaml.safe_dump(value, default_style='"', allow_unicode=True)
    assert yaml12.load(text).data == value


def test_places_of_keys_and_values() -> None:
    document = yaml12.load("model:\n  param: a\nlist: [1, {b: 2}]\n")
    assert document.place(("model", "param")) == Place(2, 10)
    assert document.place(("model", "param"), of_key=True) == Place(2, 3)
    assert document.place(("list", 1, "b")) == Place(3, 15)
    assert str(document.place(("list", 0))) == "3:8"


def test_what_is_not_there_is_placed_at_its_parent() -> None:
    document = yaml12.load("model:\n  param: a\n")
    assert document.place(("model", "bin"), of_key=True) == document.place(("model",))
    assert document.place(("nothing", 3, "at all")) == Place(1, 1)


# -- errors --------------------------------------------------------------------------------------


def test_duplicate_keys_are_named_with_both_places() -> None:
    assert problems("a: 1\nb: 2\na: 3\n") == ["3:1: key 'a' appears twice, first on line 1"]
    assert problems("top:\n  x: {b: 1, 'b': 2}") == ["2:13: key 'b' appears twice, first on line 2"]


def test_a_key_that_appears_three_times_points_to_the_first() -> None:
    assert [p.split()[-1] for p in problems("a: 1\na: 2\na: 3\n")] == ["1", "1"]


def test_equal_keys_in_different_mappings_are_no_duplicates() -> None:
    assert yaml12.load("a: {x: 1}\nb: {x: 1}").data == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize("tag", ["!mine", "!!python/name:os.system", "!!set", "!<tag:x,1:y>"])
def test_tags_are_refused(tag: str) -> None:
    (problem,) = problems(f"a: 1\nb: {tag} {{x: 1}}")
    assert problem.startswith("2:4: the tag ")
    assert problem.endswith("is not allowed; write plain YAML")


def test_a_key_must_be_plain() -> None:
    assert problems("? [a, b]\n: 1\n") == ["1:3: a key must be plain text"]


def test_every_problem_is_reported_at_once() -> None:
    reported = problems("a: !x 1\nb: 1\nb: 2\n? {c: d}\n: 3\n")
    assert [problem.split(": ")[0] for problem in reported] == ["1:4", "3:1", "4:3"]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: ]", "1:4", "not valid YAML"),
        ("a: b: c", "1:5", "not valid YAML: mapping values are not allowed"),
        ("a: 1\n\tb: 2", "2:1", "not valid YAML: a tab, where only spaces can indent"),
        ("é: 1\n\tb: 2", "2:1", "not valid YAML: a tab, where only spaces can indent"),
        ("a: *b", "1:4", "not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "2:1", "not valid YAML: another document begins here; a spec is one"),
        ("a: 1\nb: \x07", "2:4", "not valid YAML: the control character U+0007"),
        ("", "1:1", "empty; expected a mapping with 'model' and 'inputs'"),
        ("# nothing yet\n", "1:1", "empty; expected a mapping"),
    ],
)
def test_text_that_is_not_yaml(text: str, place: str, said: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{place}: {said}")


# -- hostile documents ---------------------------------------------------------------------------


def test_an_alias_bomb_ends_quickly() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
    )
    start = time.monotonic()
    (problem,) = problems(bomb)
    assert "do aliases repeat each other?" in problem
    assert time.monotonic() - start < 10.0


def test_an_alias_of_itself_ends() -> None:
    (problem,) = problems("a: &a [*a]")
    assert "too large or too deep" in problem


def test_harmless_aliases_are_allowed() -> None:
    document = yaml12.load("a: &noise {random: normal}\nb: *noise\n")
    assert document.data["a"] == document.data["b"] == {"random": "normal"}


WORDS = ["null", "True", "~", "", "12", "0x1f", "1e3", ".inf", "on", "a b", "a: b", "- a", "#", "'\""]


@pytest.mark.parametrize("text", WORDS)
def test_quoted_text_is_text_again(text: str) -> None:
    assert yaml12.load(f"[{yaml12.quoted(text)}]").data == [text]
    assert yaml12.load(f"{yaml12.key(text)} 1").data == {text: 1}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_quoted(text: str) -> None:
    assert yaml12.load(f"[{yaml12.quoted(text)}, 1]").data == [text, 1]
