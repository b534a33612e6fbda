"""Reads YAML text into plain values with their places, by the YAML 1.2 core schema.

PyYAML reads YAML 1.1, in which `1e-3` is a string, `on` is true, `010` is 8, `1:30` is 90, and the last
of two equal keys silently wins. So here PyYAML only composes the nodes, and this module reads their
scalars.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from pytest_ncnn_parity.base import errors
from pytest_ncnn_parity.base.errors import Place
from pytest_ncnn_parity.base.frozen import Frozen

MAX_NODES = 100_000  # in a parsed document: with aliases a small text can be a huge document
MAX_DEPTH = 32
_TOO_LARGE = "too large or too deep; do aliases repeat each other?"

_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in "str int float bool null map seq timestamp merge value binary".split()
)
_INT = re.compile(r"[-+]?[0-9]+")
_MOST_DIGITS = 4000  # Python refuses integers of more than 4300
_BASED = re.compile(r"0x[0-9a-fA-F]{1,64}|0o[0-7]{1,64}")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_LONGEST_KEY = 1000  # YAML allows 1024 characters before the colon on a line
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_UNTEXTUAL = re.compile("[\x00\ud800-\udfff]")
_WORDS: dict[str, bool | None] = {"~": None, "": None}
for _word, _value in (("null", None), ("true", True), ("false", False)):
    _WORDS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), _value)
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}

Path = tuple[str | int, ...]


class YamlError(Exception):
    """What is wrong with the text, as (place, message) pairs."""

    def __init__(self, problems: list[tuple[Place, str]]) -> None:
        super().__init__(problems)
        self.problems = problems


class Document(Frozen):
    """Values of dict, list, str, int, float, bool and None; and the place of each key and value."""

    data: Any
    values: dict[Path, Place]
    keys: dict[Path, Place]

    def place(self, path: Path, of_key: bool = False) -> Place:
        """The place of `path`; for a path that does not exist, that of its nearest parent."""
        table = self.keys if of_key and path in self.keys else self.values
        while path and path not in table:
            path, table = path[:-1], self.values
        return table.get(path, Place(1, 1))


def load(text: str) -> Document:
    """Read one YAML document; YamlError lists every problem found."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = text.removeprefix("\ufeff")
    _refuse_control(text)
    try:
        _refuse_size(text, loader)
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise YamlError([(place, f"not valid YAML: {_problem(error, text)}")]) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise YamlError([(Place(1, 1), f"not valid YAML: {error}")]) from None
    if root is None:
        raise YamlError([(Place(1, 1), "empty; expected a mapping with 'model' and 'inputs'")])
    reader = _Reader()
    data = reader.read(root, ())
    if reader.problems:
        raise YamlError(reader.problems)
    return Document(data, reader.values, reader.keys)


def quoted(text: str) -> str:
    """`text` as a scalar that is read back as text, in a flow collection too; plain where possible."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return dumped.rstrip("\n")


def key(text: str) -> str:
    """`text` as a mapping's key with the colon behind it; a long key needs a `?` before it as well."""
    written = quoted(text)
    return f"{written}:" if len(written) < _LONGEST_KEY else f"? {written}\n:"


def _problem(error: yaml.MarkedYAMLError, text: str) -> str:
    """What PyYAML finds wrong with `text`; a tab, which an editor shows as spaces, is named."""
    mark = error.problem_mark
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return "a tab, where only spaces can indent"
    if mark is not None and text.startswith("---", mark.index):
        return "another document begins here; a spec is one"
    return " ".join(part for part in (error.problem, error.context) if part)


def _refuse_control(text: str) -> None:
    """Report the place of a character that YAML does not allow, because PyYAML's reader gives none."""
    control = _CONTROL.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        place = Place(line, control.start() - text.rfind("\n", 0, control.start()))
        raise YamlError([(place, f"not valid YAML: the control character {_code(control.group())}")])


def _refuse_size(text: str, loader: Any) -> None:
    """Refuse deep documents: composing recurses in C without a limit, and would end the process."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or number > 2 * MAX_NODES:
            raise YamlError([(_place(event), _TOO_LARGE)])


class _Reader:
    def __init__(self) -> None:
        self.values: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.problems: list[tuple[Place, str]] = []
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        place = _place(node)
        self.values[path] = place
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise YamlError([(place, _TOO_LARGE)])
        if node.tag not in _PLAIN_TAGS:
            self.problems.append(
                (place, f"the tag {errors.cut(node.tag)} is not allowed; write plain YAML")
            )
            return None
        if isinstance(node, yaml.ScalarNode):
            self._refuse_untextual(node, place)
            return node.value if node.style in ("'", '"', "|", ">") else _scalar(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._mapping(node, path)

    def _refuse_untextual(self, node: yaml.ScalarNode, place: Place) -> None:
        """An escape may denote a character that no file name and no report can hold."""
        refused = _UNTEXTUAL.search(node.value)
        if refused is not None:
            self.problems.append((place, f"the character {_code(refused.group())} is not allowed"))

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append((place, "a key must be plain text"))
                continue
            self._refuse_untextual(key_node, place)
            key = key_node.value  # as text, because names such as 16 or on are names here
            if key in mapping:
                first = self.keys[(*path, key)]
                self.problems.append(
                    (place, f"key {errors.quoted(key)} appears twice, first on line {first.line}")
                )
            self.keys.setdefault((*path, key), place)
            mapping[key] = self.read(value_node, (*path, key))
        return mapping


def _place(node: yaml.Node | yaml.Event) -> Place:
    mark = node.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) <= _MOST_DIGITS else text
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    return text
