"""A spec and a model that somebody sent: they run no code, read nothing else, and inject nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate

from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError

pytestmark = pytest.mark.once

RANGE = "compare: [fp16-range]\n"


def refused(path: Path, root: Path | None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check.plan(spec.load(path, root), root=root)
    return [error.replace(f"{path.parent}/", "") for error in caught.value.errors]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside `repo`, with a whole model, its spec and an input."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (tmp_path / "repo").mkdir()
    networks.chain(folder)
    networks.spec(folder, networks.NOISE)
    np.save(folder / "in0.npy", np.zeros(8, np.float32))
    return folder


@pytest.mark.parametrize(
    "way", ["../outside/{}", "{outside}/{}", "link/{}", "./link/../outside/{}", "to-{}"]
)
def test_paths_that_leave_the_rootdir_are_refused(way: str, outside: Path) -> None:
    repo = outside.parent / "repo"
    (repo / "link").symlink_to(outside)
    for name in ("net.param", "net.bin", "in0.npy"):
        (repo / f"to-{name}").symlink_to(outside / name)
    paths = [way.format(name, outside=outside) for name in ("net.param", "net.bin", "in0.npy")]
    path = repo / "net.parity.yaml"
    path.write_text(
        f"model: {{param: {paths[0]}, bin: {paths[1]}}}\n"
        f"inputs: {{a: {{in0: {{file: {paths[2]}}}}}, b: {{in0: {{image: {paths[2]}}}}},\n"
        f"  c: {{in0: {{constant: 1}}, expect: {{l4: {{file: {paths[2]}}}}}}}}}\n"
    )
    reported = refused(path, repo)
    assert len(reported) == 5
    lies = rf"is a link to {outside}/\S+," if "link" in way or way.startswith("to-") else "lies"
    for error in reported:
        assert re.search(
            rf"{lies} outside of the rootdir {repo}, so it is not read; --ncnn-parity-allow-outside",
            error,
        )
    planned = check.plan(spec.load(path))
    assert planned.layers[0].name == "in0"


def test_a_link_within_the_rootdir_is_followed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    networks.chain(tmp_path / "models")
    (tmp_path / "there").symlink_to("models")
    path = tmp_path / "net.parity.yaml"
    path.write_text(f"model: {{param: there/net.param, bin: there/net.bin}}\n{networks.NOISE}")
    assert check.plan(spec.load(path, tmp_path), root=tmp_path).layers


def test_a_spec_that_is_a_link_to_outside_is_not_quoted(outside: Path) -> None:
    repo = outside.parent / "repo"
    (outside / "secret").write_text("password: hunter2\n")
    (repo / "net.parity.yaml").symlink_to(outside / "secret")
    (refusal,) = refused(repo / "net.parity.yaml", repo)
    assert "outside of the rootdir" in refusal
    assert "hunter2" not in refusal


def test_the_option_and_its_ini_allow_it(gate: Gate, pytester: pytest.Pytester) -> None:
    repo = pytester.mkdir("repo")
    networks.chain(pytester.path)
    path = networks.spec(repo, networks.NOISE + RANGE)
    path.write_text(path.read_text().replace("net.", "../net."))
    run = gate("--rootdir=repo", "repo")
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    run.result.stdout.fnmatch_lines(["*net.parity.yaml:1:16: model file *net.param lies outside of*"])
    assert len(gate("--rootdir=repo", "--ncnn-parity-allow-outside", "repo").ids("passed")) == 5
    (repo / "pytest.ini").write_text("[pytest]\nncnn_parity_allow_outside = true\n")
    assert len(gate("repo").ids("passed")) == 5


def test_specs_of_one_name_outside_of_the_rootdir_are_two(gate: Gate, pytester: pytest.Pytester) -> None:
    folders = [pytester.mkdir(name) for name in ("repo", "one", "two")]
    for folder in folders[1:]:
        networks.overflow_beside(folder, "ReLU", "")
        networks.spec(folder, "inputs: {some: {in0: {constant: 4.0}}}\ncompare: [fp16-range]\n")
    run = gate(
        "--rootdir=repo", "--ncnn-parity-allow-outside", "--ncnn-parity-fix=write", *map(str, folders)
    )
    models = run.report["models"]
    paths = [folder / "net.parity.yaml" for folder in folders[1:]]
    assert [model["spec"] for model in models] == [path.as_posix() for path in paths]
    assert sum(len(model["cases"]) for model in models) == run.report["selected"]
    written = [path for model in models for fix in model["fixes"] for path in fix["written"]]
    assert len(set(written)) == 4
    diffs = [Path(path).read_text() for path in written if path.endswith(".patch")]
    assert all(diff.startswith("--- a/net.param\n") for diff in diffs)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir ['hacked']",
        "!!python/object/new:os.mkdir ['hacked']",
        "!!python/name:os.mkdir",
        "!!python/module:antigravity",
    ],
)
def test_a_python_tag_runs_nothing(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    networks.chain(tmp_path)
    (refusal,) = refused(networks.spec(tmp_path, networks.NOISE + f"masks: {value}\n"), tmp_path)
    assert re.match(
        r"net\.parity\.yaml:4:8: the tag tag:yaml\.org,2002:python/.* is not allowed", refusal
    )
    assert not (tmp_path / "hacked").exists()


# -- names ---------------------------------------------------------------------------------------

HOSTILE = [
    "\x1b[31mred",
    "\x07",
    "a\u202eb",
    "a\u2028b",
    "a\x85b",
    "a\u200db",
    "a::b",
    "a:::b",
    "a[b]",
    "a]b[",
    "'",
    '"',
    "<script>alert(1)</script>",
    "]]>",
    "&amp;",
    "%0A::error::",
    "\U0001f600",
    "\\x1b[31mred",
    "../../x",
    "-k",
    "@x",
    "output:x",
]


def hostile(folder: Path) -> None:
    """A chain of layers and blobs with hostile names, the first of which appears twice."""
    lines = ["Input in0 0 1 in0 0=8"]
    blob = "in0"
    for number, name in enumerate((*HOSTILE, HOSTILE[0])):
        fresh = f"{name}{number}"
        lines.append(f"BinaryOp {name} 1 1 {blob} {fresh} 0=0 1=1 2=0.25")
        blob = fresh
    text = "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""])
    (folder / "net.param").write_text(text, "utf-8", newline="")
    (folder / "net.bin").write_bytes(b"")


def test_names_of_a_model_make_node_ids_that_print_and_select(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    hostile(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range, cpu-vs-vulkan]\n")
    listed = gate("--collect-only", "-q").output
    ids = [line for line in listed.split("\n") if line.startswith("net.parity.yaml::")]
    assert len(set(ids)) == len(ids) == 2 * len(HOSTILE) + 4
    assert all(name.isprintable() for name in ids)
    assert r"net.parity.yaml::noise::fp16-range::\x1b[31mred#1" in ids
    run = gate("--junitxml=junit.xml", *ids)
    assert {f"net.parity.yaml::{name}" for name in run.cases} == set(ids)
    assert run.ids("passed") == list(run.cases)
    assert len(list(ET.parse(pytester.path / "junit.xml").iter("testcase"))) == len(ids)


@pytest.mark.parametrize("name", ["\x1b[0m", "a\u202eb", "a\u200db"])
@pytest.mark.parametrize("key", ["sample", "comparison", "reason"])
def test_a_name_of_a_spec_must_print(key: str, name: str, tmp_path: Path) -> None:
    networks.chain(tmp_path)
    shown = '"' + name.encode("unicode_escape").decode() + '"'
    text = {
        "sample": f"inputs: {{{shown}: {{in0: {{random: normal}}}}}}\n",
        "comparison": f"{networks.NOISE}compare: [{{name: {shown}, candidate: {{device: vulkan}}}}]\n",
        "reason": f"{networks.NOISE}known: [{{layer: l1, reason: {shown}}}]\n",
    }[key]
    (refusal,) = refused(networks.spec(tmp_path, text), tmp_path)
    assert refusal.isprintable()
    assert re.search("can be printed|expected 1 to 100", refusal)


@pytest.mark.parametrize("raw", [b"\x1b[31mred", b"\xff", "a\u202eb".encode(), b"a\nb"])
def test_a_spec_below_a_name_that_does_not_print_is_refused(raw: bytes, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(raw)
    folder.mkdir()
    networks.chain(folder)
    (refusal,) = refused(networks.spec(folder, networks.NOISE), tmp_path)
    assert "has characters that cannot be printed; rename the file or folder" in refusal
    assert refusal.isprintable()


def test_a_project_below_a_name_that_is_no_utf_8_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"na\xefve")
    folder.mkdir()
    networks.chain(folder)
    networks.spec(folder, networks.NOISE)
    subprocess.run([sys.executable, "-m", "pytest", "--ncnn-parity", "-q"], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("\x1b[31m.parity.yaml", "has characters that cannot be printed; rename the file or folder"),
        ("\x1b[31m.parity.yml", "the name of a spec ends with .parity.yaml: rename it"),
    ],
)
def test_a_spec_whose_own_name_does_not_print_is_an_error_of_collection(
    name: str, said: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE).rename(pytester.path / name)
    run = gate("--junitxml=junit.xml")
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    run.result.stdout.fnmatch_lines([f"/*{said}"])
    ET.parse(pytester.path / "junit.xml")


def test_spaces_of_any_language_are_no_reason_to_rename(tmp_path: Path) -> None:
    folder = tmp_path / "a b\u3000c\u00a0d"
    folder.mkdir()
    networks.chain(folder)
    path = networks.spec(folder, networks.NOISE)
    assert check.plan(spec.load(path, tmp_path), root=tmp_path).layers
