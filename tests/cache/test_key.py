"""Each thing that can change a verdict is in the key: it changes its own part, and no other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import plans
import pytest

from pytest_ncnn_parity.cache import machine, setup_code, verdicts
from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec

SPEC = """\
model: {param: net.param, bin: net.bin}
inputs:
  noise: {in0: {random: normal}}
  recorded: {in0: {file: in0.npy}, expect: {out0: {file: out0.npz, key: a}}}
  photo: {in0: {image: in0.png}}
setup: own.layers:register
"""
FILES = {
    "net.parity.yaml": SPEC,
    "net.param": plans.NETWORK,
    "net.bin": "weights",
    "in0.npy": "input",
    "out0.npz": "recording",
    "in0.png": "photo",
    "own/__init__.py": "",
    "own/layers.py": "from own.shared import scale\nfrom . import tables\nimport loose\n",
    "own/shared.py": "scale = 2\n",
    "own/tables.py": "def late():\n    import own.deep.late\n",
    "own/deep/late.py": "x = 1\n",
    "loose.py": "",
    "unused.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path


def plan(folder: Path) -> Plan:
    loaded = spec.load(folder / "net.parity.yaml")
    return Plan(loaded, param.read(str(folder / "net.param")), folder)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("name", "sample", "part"),
    [
        ("net.parity.yaml", "noise", "spec"),
        ("net.param", "noise", "param"),
        ("net.bin", "noise", "bin"),
        ("in0.npy", "recorded", "inputs"),
        ("in0.npy", "", "inputs"),
        ("in0.npy", "noise", None),
        ("in0.png", "photo", "inputs"),
        ("out0.npz", "recorded", "recordings"),
        ("out0.npz", "", "recordings"),
        ("out0.npz", "photo", None),
        ("own/__init__.py", "noise", "setup"),
        ("own/layers.py", "noise", "setup"),
        ("own/shared.py", "noise", "setup"),
        ("own/tables.py", "noise", "setup"),
        ("own/deep/late.py", "noise", "setup"),
        ("loose.py", "noise", "setup"),
        ("unused.py", "noise", None),
    ],
)
def test_a_file_changes_its_part(folder: Path, name: str, sample: str, part: str | None) -> None:
    before = verdicts.parts(plan(folder), sample)
    path = folder / name
    path.write_text(path.read_text("utf-8") + "\n# more\n", "utf-8")
    if name == "net.param":
        path.write_text(FILES[name].replace("conv_1", "conv_2"), "utf-8")
    assert changed(before, verdicts.parts(plan(folder), sample)) == ({part} if part else set())


def test_samples_have_keys_of_their_own(folder: Path) -> None:
    one, other = (verdicts.parts(plan(folder), sample) for sample in ("noise", "photo"))
    assert changed(one, other) == {"sample", "inputs"}


def test_what_was_collected_is_in_the_key_though_its_file_has_changed_since(folder: Path) -> None:
    collected = plan(folder)
    before = verdicts.parts(collected, "noise")
    (folder / "net.param").write_text(FILES["net.param"].replace("conv_1", "conv_2"), "utf-8")
    since = verdicts.parts(collected, "noise")
    assert len({before["param"], since["param"], verdicts.parts(plan(folder), "noise")["param"]}) == 3


PARTS = (
    *machine.parts({}),
    "sample",
    "spec",
    "param",
    "bin",
    "inputs",
    "recordings",
    "setup",
    "options",
)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_changes_by_itself_is_a_miss(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Also one that a test cannot change in truth, as the version of ncnn."""
    asked = plan(folder)
    here, own = machine.parts(os.environ), verdicts.parts(asked, "recorded")
    options = {"timeout": "1"}
    first = Cache(folder / "cache", options)
    assert first.get(asked, "recorded", "shipped") is None
    first.put(asked, "recorded", "shipped", "text", os.getpid())
    assert Cache(folder / "cache", options).get(asked, "recorded", "shipped") == "text"
    assert Cache(folder / "cache", options).get(asked, "recorded", "fp16-range") is None

    for module, parts in ((machine, here), (verdicts, own)):
        other = {name: text + "*" * (name == part) for name, text in parts.items()}
        monkeypatch.setattr(module, "parts", lambda *_, other=other: other)
    if part == "options":
        options = {"timeout": "2"}
    assert Cache(folder / "cache", options).get(asked, "recorded", "shipped") is None


@pytest.mark.parametrize("name", ["net.bin", "in0.npy", "own/shared.py"])
def test_what_changes_while_it_runs_is_not_kept(folder: Path, name: str) -> None:
    asked = plan(folder)
    cache = Cache(folder / "cache", {})
    cache.get(asked, "recorded", "shipped")
    before = (folder / name).read_text("utf-8")
    (folder / name).write_text("changed", "utf-8")
    cache.put(asked, "recorded", "shipped", "text", os.getpid())
    (folder / name).write_text(before, "utf-8")
    assert not (folder / "cache").exists()
    assert Cache(folder / "cache", {}).get(asked, "recorded", "shipped") is None


def test_a_file_that_is_gone_is_a_miss(folder: Path) -> None:
    asked = plan(folder)
    (folder / "net.bin").unlink()
    cache = Cache(folder / "cache", {})
    assert cache.get(asked, "noise", "shipped") is None
    cache.put(asked, "noise", "shipped", "text", os.getpid())
    assert not (folder / "cache").exists()


def test_a_folder_that_cannot_be_written_is_a_problem_and_no_error(folder: Path) -> None:
    asked = plan(folder)
    (folder / "cache").write_text("a file", "utf-8")
    cache = Cache(folder / "cache", {})
    assert cache.get(asked, "noise", "shipped") is None
    assert cache.problem == ""
    cache.put(asked, "noise", "shipped", "text", os.getpid())
    assert "no verdicts were kept" in cache.problem


def test_imports_in_a_circle_end_and_code_that_does_not_parse_counts(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\n", "utf-8")
    (tmp_path / "b.py").write_text("import a, c, os.path\n", "utf-8")
    (tmp_path / "c.py").write_text("def (\n", "utf-8")
    names = [path.name for path in setup_code.files("a:register", [tmp_path])]
    assert sorted(names) == ["a.py", "b.py", "c.py"]
