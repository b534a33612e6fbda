"""One line of a .param file as ncnn scans it, and what ncnn would refuse, misread or crash on.

A line is refused here only if no supported version of ncnn reads it as intended (src/net.cpp:
load_param, src/paramdict.cpp). Whatever some version can read is left to that version.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_ncnn_parity.base.errors import counted, cut, quoted

MASK_ID = "31"
SHAPE_HINT_ID = "-23330"

ARRAY_IDS = 23300  # -23303 is the id of the array with id 3
MOST_IDS = 32  # ncnn's NCNN_MAX_PARAM_COUNT
MOST_NAME = 255  # bytes, because ncnn scans names with %255s
_INT32 = 2**31
_IDS = f"an id from 0 to {MOST_IDS - 1}, or -{ARRAY_IDS} to -{ARRAY_IDS + MOST_IDS - 1} for an array"

# ASCII only: ncnn scans as C does, where a no-break space is part of a name
SPACE = " \t\n\r\f\v"
COUNT = re.compile(r"\d{1,9}", re.ASCII)
_WORD = re.compile(r"\S+", re.ASCII)
_PAIR = re.compile(r'(?<!\S)(-?\d{1,9})=("[^"]*"|\S*)', re.ASCII)
_ANY_ID = re.compile(r"-?\d+=", re.ASCII)
WHOLE = re.compile(r"[-+]?\d{1,10}", re.ASCII)
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?", re.ASCII)
_STRING = re.compile(r'["A-Za-z]')
_NO_FINITE = re.compile(r"([-+]?)(inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_LARGEST = "3.4028234e+38"
_BY_VERSION = "by its version ncnn refuses this, reads 0, or takes the parameter's default"


class Fields(NamedTuple):
    """A layer line split into its parts."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, str]
    mask: int


def lines(text: str) -> list[str]:
    """The lines with their ends. Only CR and LF end a line; str.splitlines knows eight others."""
    return list(io.StringIO(text, newline=""))


def words(line: str) -> list[str]:
    """The words of a layer line. Unlike str.split(), ncnn does not end one at a no-break space."""
    return _WORD.findall(line)


def pairs(line: str, before: int) -> list[re.Match[str]]:
    """The `id=value` pairs of a layer line, which follow its first `before` words."""
    start = [word.end() for word in _WORD.finditer(line)][before - 1]
    return list(_PAIR.finditer(line, start))


def with_mask(line: str, before: int, mask: int) -> str:
    """The layer line `line` with `mask`; its first `before` words are no pairs, all else stays.

    Of several `31=` ncnn uses the last, so that one is edited.
    """
    body = line.rstrip(SPACE)
    tail = line[len(body) :]
    present = [pair for pair in pairs(body, before) if pair[1] == MASK_ID]
    if present:
        start, end = present[-1].span(2)
        return f"{body[:start]}{mask}{body[end:]}{tail}"
    return f"{body} {MASK_ID}={mask}{tail}"


def layer(line: str, problems: list[str]) -> Fields | None:
    """The layer that `line` describes, or None if it describes none.

    What is wrong with the line is appended to `problems`.
    """
    fields = words(line)
    if len(fields) < 4 or not all(map(COUNT.fullmatch, fields[2:4])):
        problems.append(
            "expected 'Type name n_inputs n_outputs blobs... id=value...', "
            f"found {quoted(line.strip(SPACE))}"
        )
        return None
    n_inputs, n_outputs = int(fields[2]), int(fields[3])
    named = f"layer {cut(fields[1])}"
    end = 4 + n_inputs + n_outputs
    if len(fields) < end:
        problems.append(
            f"{named} announces {counted(n_inputs, 'input')} and {counted(n_outputs, 'output')}, but "
            f"names {counted(len(fields) - 4, 'blob')}; is the line cut off?"
        )
        return None
    given = pairs(line, end)
    params = dict(_param(pair[1], pair[2]) for pair in given)
    wrong = [
        *_names([*fields[:2], *fields[4:end]]),
        *_values(given),
        *_leftover(line, end, given),
    ]
    mask = _mask(params.get(MASK_ID, "0"), wrong)
    if n_outputs == 0 and params.get(SHAPE_HINT_ID, "0") != "0":
        wrong.append(f"{SHAPE_HINT_ID} states the shapes of outputs, of which it has none")
    problems.extend(f"{named}: {what}" for what in wrong)
    return Fields(
        fields[0],
        fields[1],
        tuple(fields[4 : 4 + n_inputs]),
        tuple(fields[4 + n_inputs : end]),
        params,
        mask,
    )


def _names(names: Sequence[str]) -> Iterator[str]:
    if not names[0][0].isalpha() and names[0][0] != "_":
        yield f"the type {quoted(names[0])} does not begin with a letter"
    for name in names:
        if len(name.encode()) > MOST_NAME:
            yield f"the name {quoted(name)} is longer than the {MOST_NAME} bytes that ncnn reads"


def _values(given: Sequence[re.Match[str]]) -> Iterator[str]:
    for pair in given:
        number, value = int(pair[1]), pair[2]
        array = number <= -ARRAY_IDS
        if not 0 <= (-number - ARRAY_IDS if array else number) < MOST_IDS:
            yield f"{pair[1]}=: expected {_IDS}"
        elif array:
            yield from _array(pair[1], value)
        elif infinite := _NO_FINITE.fullmatch(value):
            sign, what = infinite.groups()
            most = "" if what.lower() == "nan" else f", such as {sign}{_LARGEST}"
            taken = "ncnn refuses this" if sign else _BY_VERSION
            yield f"{pair[1]}={value}: expected a number{most}; {taken}"
        elif pair[1] == MASK_ID or _STRING.match(value):
            continue
        elif not all(map(_number, value.removesuffix(",").split(","))):
            yield f"{pair[1]}={cut(value)}: expected a number{_beyond(value)}"


def _param(name: str, value: str) -> tuple[str, str]:
    """A parameter as older versions write it: `3=1,2` is -23303=2,1,2, and `3=1,` is -23303=1,1."""
    if "," not in value or name == MASK_ID or name.startswith("-") or _STRING.match(value):
        return name, value
    elements = value.removesuffix(",")
    return f"-{ARRAY_IDS + int(name)}", f"{elements.count(',') + 1},{elements}"


def _array(name: str, value: str) -> Iterator[str]:
    length, *elements = value.split(",")
    if not COUNT.fullmatch(length) or int(length) != len(elements):
        yield f"{name}={cut(value)}: announces {cut(length)} values, but {len(elements)} follow"
    elif not all(map(_number, elements)):
        yield f"{name}={cut(value)}: expected numbers{_beyond(value)}"


def _number(text: str) -> bool:
    if WHOLE.fullmatch(text):
        return -_INT32 <= int(text) < _INT32
    return _FLOAT.fullmatch(text) is not None


def _beyond(value: str) -> str:
    """What is wrong with the integers among the comma-separated numbers, if ncnn cannot hold one."""
    integers = filter(_INTEGER.fullmatch, value.split(","))
    return "" if all(map(_number, integers)) else " of 32 bits"


def _leftover(line: str, end: int, given: Sequence[re.Match[str]]) -> Iterator[str]:
    """A word behind the blobs that is no `id=value`: ncnn would read it as the next layer's type."""
    starts = [pair.start() for pair in given]
    for word in list(_WORD.finditer(line))[end:]:
        at = bisect_right(starts, word.start()) - 1
        if at < 0 or word.start() >= given[at].end():
            if _ANY_ID.match(word.group()):
                yield f"{cut(word.group().partition('=')[0])}=: expected {_IDS}"
            else:
                yield f"expected id=value, found {quoted(word.group())}; does a count of blobs not fit?"
            return


def _mask(text: str, problems: list[str]) -> int:
    if COUNT.fullmatch(text):
        return int(text)
    what = f"mask {MASK_ID}={cut(text, 20)} is not a whole number from 0 to 255"
    if re.fullmatch(r"\d{1,9}\.\d*", text, re.ASCII):
        what += f"; ncnn would refuse the file. Write {MASK_ID}={int(float(text))}"
    problems.append(what)
    return 0
