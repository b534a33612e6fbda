"""Every key of a spec, wrong in every way: missing, misspelt, twice, and of each kind that it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spec_texts import WHOLE

from pytest_ncnn_parity.spec import spec, yaml12
from pytest_ncnn_parity.spec.spec import SpecError

Keys = tuple[str | int, ...]

DATA = yaml12.load(WHOLE).data
FREE = {
    ("inputs",),
    ("masks",),
    ("tolerance", "layers"),
    ("tolerance", "outputs"),
}  # names of the user's
KINDS = [None, True, -1, 0.5, 10**30, float("nan"), "", "\x1b[31m", [], [None], {}, {"nonsense": 1}]


def paths(data: Any, path: Keys = ()) -> Iterator[Keys]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


PATHS = list(paths(DATA))
KNOWN = [
    path
    for path in PATHS
    if isinstance(path[-1], str)
    and path[:-1] not in FREE
    and not (path[0] == "inputs" and len(path) == 3)
    and path[-2:-1] != ("options",)  # ncnn's own
]


def changed(data: Any, path: Keys, change: Any) -> Any:
    """`data` with the container of `path` made anew by `change(container, key)`."""
    first, *rest = path
    if not rest:
        return change(data, first)
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[first] = changed(data[first], tuple(rest), change)  # type: ignore[index]
    return copy


def errors(folder: Path, data: Any) -> list[str]:
    """The errors of a spec of these values, one of them a line; none where it is right."""
    path = folder / "net.parity.yaml"
    path.write_text(json.dumps(data, indent=1).replace("NaN", ".nan"), "utf-8")
    try:
        spec.load(path)
        reported = []
    except SpecError as error:
        reported = error.errors
    assert all(line.isprintable() and len(line) < 600 for line in reported)
    return [line.removeprefix(f"{path}:") for line in reported]


def line_of(data: Any, path: Keys) -> int:
    return yaml12.load(json.dumps(data, indent=1).replace("NaN", ".nan")).place(path, True).line


@pytest.mark.once
@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_key_of_the_wrong_kind_is_reported_at_its_place(path: Keys, tmp_path: Path) -> None:
    refused = 0
    for value in KINDS:

        def put(container: Any, key: Any, value: Any = value) -> Any:
            copy = dict(container) if isinstance(container, dict) else list(container)
            copy[key] = value
            return copy

        data = changed(DATA, path, put)
        reported = errors(tmp_path, data)
        refused += bool(reported)
        line = line_of(data, path)
        own = range(line, line + len(json.dumps(value, indent=1).split("\n")))
        # or at one that holds it, and makes no sense with it
        holders = [line_of(data, path[:end]) for end in range(1, len(path))]
        assert all(int(error.partition(":")[0]) in (*own, *holders) for error in reported), reported
    assert refused >= 7


@pytest.mark.parametrize("path", KNOWN, ids=lambda path: ".".join(map(str, path)))
def test_a_misspelt_key_is_reported_with_the_nearest_one(path: Keys, tmp_path: Path) -> None:
    key = path[-1]

    def misspell(container: Any, key: Any) -> Any:
        return {f"{k}x" if k == key else k: v for k, v in container.items()}

    data = changed(DATA, path, misspell)
    reported = errors(tmp_path, data)
    line = line_of(data, (*path[:-1], f"{key}x"))
    there = [error for error in reported if error.startswith(f"{line}:")]
    assert there or any(
        re.search(rf"one of the keys|'{key}' is missing", error) for error in reported
    ), reported
    assert not there or re.search(rf"unknown key '{key}x'; did you mean '\w", there[0]), there


@pytest.mark.parametrize("path", [path for path in PATHS if isinstance(path[-1], str)], ids=str)
def test_a_key_that_appears_twice_is_reported(path: Keys, tmp_path: Path) -> None:
    lines = json.dumps(DATA, indent=1).split("\n")
    number = line_of(DATA, path) - 1
    indent, key = re.match(r'( *)("(?:[^"\\]|\\.)*")', lines[number]).groups()
    text = "\n".join([*lines[:number], f"{indent}{key}: 1,", *lines[number:]])
    (tmp_path / "net.parity.yaml").write_text(text, "utf-8")
    with pytest.raises(SpecError, match=rf":{number + 2}:\d+: key '.*' appears twice, first on line"):
        spec.load(tmp_path / "net.parity.yaml")


def test_a_missing_key_is_reported_or_has_a_default(tmp_path: Path) -> None:
    needed = set()
    for path in PATHS:

        def drop(container: Any, key: Any) -> Any:
            if isinstance(container, list):
                return container[:key] + container[key + 1 :]
            return {k: v for k, v in container.items() if k != key}

        if errors(tmp_path, changed(DATA, path, drop)):
            needed.add(".".join(map(str, path)))
    assert {"model", "model.param", "model.bin", "inputs"} <= needed
    assert {"compare.3.name", "compare.3.candidate", "known.0.reason", "known.0.layer"} <= needed
    assert {"inputs.noise.in0.random", "inputs.flat.in0.constant", "inputs.recorded.in0.file"} <= needed
    assert not needed & {"compare", "tolerance", "layers", "masks", "known", "inputs.noise.in0.seed"}
