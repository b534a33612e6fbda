"""What the cache's folder holds: whole entries under their own keys; what is damaged is none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ncnn_parity.cache import code_files
from pytest_ncnn_parity.cache.code_files import CodeFile
from pytest_ncnn_parity.cache.store import MOST_SECONDS, SUFFIX, Store

PARTS = {"spec": "5", "bin": "6", "subject": "cpu-vs-vulkan"}


def kept(folder: Path) -> Path:
    """The file of an entry, the only one."""
    Store(folder).write(PARTS, '{"a": 1}', [])
    (path,) = folder.glob(f"*{SUFFIX}")
    return path


def test_an_entry_is_read_under_its_own_key_alone(tmp_path: Path) -> None:
    kept(tmp_path)
    store = Store(tmp_path)
    assert store.read(PARTS) == store.read(dict(reversed(PARTS.items()))) == '{"a": 1}'
    for name, text in PARTS.items():
        assert store.read({**PARTS, name: text + "0"}) is None
        assert store.read({key: value for key, value in PARTS.items() if key != name}) is None
    assert Store(tmp_path / "elsewhere").read(PARTS) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_an_entry_is_not_waited_for(tmp_path: Path) -> None:
    path = kept(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert Store(tmp_path).read(PARTS) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda raw: raw[:-7],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw.replace(b"cpu-vs", b"gpu-vs"),
        lambda raw: raw.replace(b"\n", b"\n "),
        lambda raw: b"\xff" + raw,
        lambda _: b"{}",
        lambda _: b'{"cases": [],\n"models": []}',
        lambda _: bytes(range(256)) * 40,
    ],
)
def test_a_damaged_or_foreign_entry_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = kept(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert Store(tmp_path).read(PARTS) is None
    Store(tmp_path).write(PARTS, "again", [])
    assert Store(tmp_path).read(PARTS) == "again"


def test_an_entry_of_another_key_under_this_ones_name_is_none(tmp_path: Path) -> None:
    path = kept(tmp_path)
    other = {**PARTS, "bin": "7"}
    Store(tmp_path).write(other, "other", [])
    (named,) = set(tmp_path.glob(f"*{SUFFIX}")) - {path}
    named.replace(path)
    assert Store(tmp_path).read(PARTS) is None


def test_a_folder_where_the_entry_should_be_is_none(tmp_path: Path) -> None:
    path = kept(tmp_path)
    path.unlink()
    path.mkdir()
    assert Store(tmp_path).read(PARTS) is None
    with pytest.raises(OSError, match="not a regular file"):
        Store(tmp_path).write(PARTS, "text", [])


def test_code_that_has_changed_makes_an_entry_none(tmp_path: Path) -> None:
    driver = tmp_path / "driver.so"
    driver.write_bytes(b"one")
    status = driver.stat()
    identity = CodeFile(str(driver), 3, status.st_mtime_ns, code_files.digests.of_file(driver))
    Store(tmp_path).write(PARTS, "text", [identity])
    assert Store(tmp_path).read(PARTS) == "text"
    os.utime(driver, (1, 1))  # as where the same package is installed on another machine
    assert Store(tmp_path).read(PARTS) == "text"
    driver.write_bytes(b"two")
    assert Store(tmp_path).read(PARTS) is None
    driver.write_bytes(b"three")
    assert Store(tmp_path).read(PARTS) is None
    driver.unlink()
    assert Store(tmp_path).read(PARTS) is None


def test_entries_that_nobody_uses_go(tmp_path: Path) -> None:
    path = kept(tmp_path)
    left = tmp_path / f".{path.name}.x1.new"
    foreign = tmp_path / "notes.txt"
    old = time.time() - MOST_SECONDS - 60
    for file in (left, foreign):
        file.write_text("")
    for file in (path, left, foreign):
        os.utime(file, (old, old))
    fresh = {**PARTS, "bin": "8"}
    Store(tmp_path).write(fresh, "text", [])
    assert not path.exists()
    assert not left.exists()
    assert foreign.exists()
    assert Store(tmp_path).read(fresh) == "text"


def test_a_used_entry_stays(tmp_path: Path) -> None:
    path = kept(tmp_path)
    old = time.time() - MOST_SECONDS - 60
    os.utime(path, (old, old))
    assert Store(tmp_path).read(PARTS)
    Store(tmp_path).write({**PARTS, "bin": "8"}, "text", [])
    assert path.exists()


def test_of_more_than_there_is_room_for_the_least_used_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_ncnn_parity.cache.store.MOST_BYTES", 25_000)
    now = time.time()
    for number in range(5):
        Store(tmp_path / str(number)).write({**PARTS, "bin": str(number)}, "x" * 9_000, [])
        (path,) = (tmp_path / str(number)).glob(f"*{SUFFIX}")
        path = path.replace(tmp_path / path.name)
        os.utime(path, (now - 100 + number,) * 2)
    Store(tmp_path).write(PARTS, "x" * 9_000, [])
    left = [n for n in range(5) if Store(tmp_path).read({**PARTS, "bin": str(n)})]
    assert left == [4]
    assert Store(tmp_path).read(PARTS)


def test_the_code_of_a_process_is_known() -> None:
    files = code_files.mapped(os.getpid())
    assert files is not None
    assert any(".so" in file.path for file in files) or not Path("/proc/self/maps").exists()
    assert code_files.unchanged(files)


@pytest.mark.parametrize(
    ("mapping", "path"),
    [
        ("7f01-7f02 r-xp 00000000 fe:00 260131  /usr/lib/libvulkan.so.1", "/usr/lib/libvulkan.so.1"),
        ("7f01-7f02 r-xp 00000000 fe:00 260131  /opt/a b/driver.so", "/opt/a b/driver.so"),
        ("7f01-7f02 r-xp 00000000 fe:00 26  /usr/lib/gone.so (deleted)", "/usr/lib/gone.so (deleted)"),
        ("7f01-7f02 rwxs 00000000 fe:00 26  /tmp/.glAbCd12 (deleted)", ""),
        ("7f01-7f02 r-xs 00000000 00:01 26  /memfd:/.glAbCd12 (deleted)", ""),
        ("7f01-7f02 rwxs 00000000 00:06 26  /dev/nvidiactl", ""),
        ("7f01-7f02 r--p 00000000 fe:00 26  /usr/lib/locale/locale-archive", ""),
        ("7f01-7f02 rwxp 00000000 00:00 0", ""),
        ("7f01-7f02 r-xp 00000000 00:00 0  [vdso]", ""),
    ],
)
def test_which_mappings_are_code_of_a_file(mapping: str, path: str) -> None:
    assert code_files.executable(mapping) == path


def test_of_a_process_that_has_ended_the_code_is_not_known() -> None:
    if Path("/proc/self/maps").exists():
        assert code_files.mapped(2**22 + 1) is None
