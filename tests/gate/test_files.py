"""Files that are none: each is one error with its name, at once, whatever lies there."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import pytest
from conftest import Gate, fresh_python

from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plugin.running import dangling_specs
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError


def place(kind: str, path: Path) -> None:
    """Something that is no regular file, at `path`."""
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a dangling link":
        path.symlink_to("nowhere")
    elif kind == "a loop of links":
        path.symlink_to(path.name)
    elif kind == "a device without end":
        path.symlink_to("/dev/zero")
    elif kind == "under a file":
        path.with_suffix("").write_text("")


SAID = {
    "a pipe": "is not a file",
    "a folder": "is not a file but a folder",
    "a dangling link": "is a link to nowhere, which does not exist",
    "a loop of links": "cannot be read: Too many levels of symbolic links",
    "a device without end": "is not a file",
    "nothing": "does not exist",
}


def errors(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check.plan(spec.load(path))
    return caught.value.errors


@pytest.mark.parametrize("kind", SAID)
def test_a_spec_that_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.parity.yaml"
    place(kind, path)
    (error,) = errors(path)
    assert error.startswith(f"{path}: {SAID[kind]}")


@pytest.mark.parametrize("kind", SAID)
def test_each_file_that_a_spec_names_is_reported_with_its_place(kind: str, tmp_path: Path) -> None:
    networks.chain(tmp_path)
    text = "inputs:\n  a: {in0: {file: x.npy}}\n  b: {in0: {image: x.png}}\n"
    path = networks.spec(tmp_path, text)
    for name in ("net.param", "net.bin", "x.npy", "x.png"):
        place(kind, tmp_path / name)
    places = [error.replace(f"{tmp_path}/", "").partition(SAID[kind])[0] for error in errors(path)]
    assert places == [
        "net.parity.yaml:1:16: model file net.param ",
        "net.parity.yaml:1:32: weights file net.bin ",
        "net.parity.yaml:3:7: inputs.a.in0: x.npy ",
        "net.parity.yaml:4:7: inputs.b.in0: x.png ",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 300, "cannot be read: File name too long"),
        ("net.param/x", "does not exist"),
        (r"a\e[31mb", r"a\x1b[31mb does not exist"),
        (r"a\u202eb", r"a\u202eb does not exist"),
        (r"a\0b", "the character U+0000 is not allowed"),
        ("", "text that is not empty"),
    ],
)
def test_a_name_that_no_file_has(name: str, said: str, tmp_path: Path) -> None:
    networks.chain(tmp_path)
    path = networks.spec(tmp_path, networks.NOISE)
    path.write_text(path.read_text().replace("net.bin", f'"{name}"'))
    (error,) = errors(path)
    assert re.match(rf"{path}:1:32: ", error)
    assert said in error
    assert error.isprintable()


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permissions bind, also where the tests run as root."""
    user = os.getresuid()
    if user[0] == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(*user)


def test_a_file_that_may_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path is for its owner alone
        folder = Path(name)
        folder.chmod(0o755)
        networks.chain(folder)
        path = networks.spec(folder, networks.NOISE)
        (folder / "net.bin").chmod(0)
        with unprivileged():
            (error,) = errors(path)
        assert error == f"{path}:1:32: weights file {folder}/net.bin cannot be read: permission denied"
        path.chmod(0)
        with unprivileged():
            assert errors(path) == [f"{path}: cannot be read: permission denied"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"model: \xff", ":1:8: not UTF-8 text (byte 0xff); expected a spec in YAML"),
        (b"model: a\nx: \xc3\x28", ":2:4: not UTF-8 text (byte 0xc3); expected a spec in YAML"),
        ("model: a".encode("utf-16"), ":1:1: not UTF-8 text (byte 0xff); it looks like UTF-16"),
        (b"model: a\x00b", ":1:9: not valid YAML: the control character U+0000"),
        (b"", ":1:1: empty"),
        (b"\xef\xbb\xbf", ":1:1: empty"),
        (b"# " + b"x" * (5 << 20), ": larger than 4 MiB"),
    ],
)
def test_a_spec_that_is_no_text(raw: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.parity.yaml"
    path.write_bytes(raw)
    (error,) = errors(path)
    assert error.startswith(f"{path}{said}")


def test_a_param_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    networks.chain(tmp_path)
    with (tmp_path / "net.param").open("ab") as file:
        file.truncate(1 << 40)  # sparse
    (error,) = errors(networks.spec(tmp_path, networks.NOISE))
    assert "net.param: larger than 16 MiB; expected a text .param file" in error


@pytest.mark.parametrize("way", ["crlf", "mark", "tabs"])
def test_text_as_other_systems_write_it_is_read(way: str, tmp_path: Path) -> None:
    networks.chain(tmp_path)
    path = networks.spec(tmp_path, networks.NOISE)
    text = path.read_text()
    changed = {
        "crlf": text.replace("\n", "\r\n"),
        "mark": "\ufeff" + text,
        "tabs": text.replace(": ", ":\t"),
    }[way]
    path.write_bytes(changed.encode())
    assert str(check.plan(spec.load(path)).spec.at("inputs", of_key=True)) == f"{path}:2:1"


@pytest.mark.once
def test_collection_ends_where_pipes_and_links_lie_about(gate: Gate, pytester: pytest.Pytester) -> None:
    """pytest itself collects regular files alone; one that is named must not be waited for either."""
    place("a pipe", pytester.path / "pipe.parity.yaml")
    place("a folder", pytester.path / "folder.parity.yaml")
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    place("a pipe", pytester.path / "net2.param")
    np.save(pytester.path / "x.npy", np.zeros(8, np.float32))
    (pytester.path / "other.parity.yaml").write_text(
        "model: {param: net2.param, bin: net.bin}\ninputs: {a: {in0: {file: x.npy}}}\n"
    )
    run = gate()
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    run.result.stdout.fnmatch_lines(["*other.parity.yaml:1:16: model file *net2.param is not a file"])
    named = pytester.runpytest_subprocess("--ncnn-parity", "pipe.parity.yaml")
    # an older pytest fails an assertion of its own
    assert named.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)


@pytest.mark.once
@pytest.mark.skipif(pytest.version_tuple < (8,), reason="pytest 7 collects all folders in one step")
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one", "xdist"])
def test_a_spec_that_is_a_dangling_link_is_not_passed_over(
    gate: Gate, pytester: pytest.Pytester, processes: tuple[str, ...]
) -> None:
    """As one that several folders share, after it was moved. pytest takes it for no file."""
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    folder = pytester.mkdir("models")
    place("a dangling link", folder / "gone.parity.yaml")
    place("a dangling link", folder / "ignored.parity.yaml")
    place("a dangling link", folder / "another.yaml")
    run = gate("--ignore-glob=*ignored*", *processes)
    assert run.result.ret in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.TESTS_FAILED)
    (error,) = run.report["errors"]
    assert error["spec"] == "models/gone.parity.yaml"
    assert error["message"].endswith("is a link to nowhere, which does not exist")


@pytest.mark.parametrize("depth", [100, 100_000])
def test_a_document_of_any_depth_is_an_error_and_no_crash(depth: int) -> None:
    """In a process of its own: a parser that recurses in C takes the whole of pytest along."""
    code = (
        "from pytest_ncnn_parity.spec import yaml12\n"
        f"try: yaml12.load('[' * {depth} + ']' * {depth})\n"
        "except yaml12.YamlError as error: print(error.problems[0][1])\n"
    )
    ran = fresh_python(code)
    assert ran.returncode == 0
    # libyaml's own limit comes first where it has one
    assert "too large or too deep" in ran.stdout or "exceeded maximum nesting depth" in ran.stdout


def test_a_folder_that_is_gone_meanwhile_has_no_dangling_links(tmp_path: Path) -> None:
    assert list(dangling_specs(SimpleNamespace(path=tmp_path / "gone"))) == []  # type: ignore[arg-type]


@pytest.mark.once
def test_a_path_with_colons_is_refused(gate: Gate, pytester: pytest.Pytester) -> None:
    """Node ids of `a::b/net.parity.yaml` would begin with a spec `a`."""
    folder = pytester.mkdir("a::b")
    networks.chain(folder)
    networks.spec(folder, networks.NOISE)
    (error,) = gate().report["errors"]
    assert error["spec"] == "a::b/net.parity.yaml"
    assert error["message"].endswith(
        "its path has '::', which ends a path in node ids; rename the file or folder"
    )
