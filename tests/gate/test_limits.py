"""What a worker may take: time, memory, room on the disk; and what is taken with it when it goes."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import faulty_driver
import networks
import pytest
import verdicts
from conftest import Gate
from network import Network

from pytest_ncnn_parity.base import memory
from pytest_ncnn_parity.engine import descendants
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import Judge
from pytest_ncnn_parity.engine.stderr import HEAD, TAIL, Stderr

pytestmark = pytest.mark.once

EXTRACTS = "vkQueueSubmit:3"
MIB = 1 << 20
EMPTY = Judge((), (), 0, {}, 1)


@pytest.fixture
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's workers have their folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def left_in(folder: Path) -> list[str]:
    """Files, and processes whose temporary folder is in `folder`."""
    processes = [str(pid) for pid in descendants.below(folder)]
    return [str(path) for path in folder.iterdir()] + processes


@pytest.mark.parametrize(("what", "cause"), [("family", "timeout"), ("orphan", "crash")])
def test_what_a_worker_started_ends_with_it(
    what: str,
    cause: str,
    tmp_path: Path,
    own_temporary_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Children in a session of their own, that init has adopted and that hold the worker's pipes."""
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:{what}")
    networks.convolution(tmp_path)
    start = time.monotonic()
    judged = verdicts.of(verdicts.plan(tmp_path), timeout=6)
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": cause}
    assert judged["s0::cpu-vs-vulkan::c2"].outcome == "passed"
    assert left_in(own_temporary_folder) == []
    if what == "orphan":
        assert time.monotonic() - start < 60, "it was not waited for"


def test_a_step_beyond_the_time_limit_is_killed_and_the_rest_goes_on(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.slow(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    run = gate("--ncnn-parity-timeout=1.5")
    slow = run.cases["noise::fp16-range::slow"]
    assert (slow["outcome"], slow["cause"]) == ("failed", "timeout")
    assert "--ncnn-parity-timeout=SECONDS gives it more time" in slow["message"]
    assert "no answer for 1.5 s" in slow["message"]
    assert run.cases["noise::fp16-range::quick"]["outcome"] == "passed"
    (fix,) = run.report["models"][0]["fixes"]
    assert fix["how"].startswith("slow could not be run to the end")


def test_a_worker_that_fills_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:fill")
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path), memory=700 * MIB, outputs=False)
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": "memory"}
    text = judged["s0::cpu-vs-vulkan::c1"].text
    assert text.startswith("out of memory on vulkan fp32: ")
    assert "it may hold 700 MiB (--ncnn-parity-memory)" in text


def growing(folder: Path) -> None:
    """`small` -> `large`, of 128 MiB, -> `larger`, of 512 -> `behind`."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64 1=64 2=8")
    x = net.layer("ReLU", "small", [x])
    x = net.layer("Interp", "large", [x], params="0=1 1=32.0 2=32.0")
    x = net.layer("Interp", "larger", [x], params="0=1 1=2.0 2=2.0")
    net.layer("ReLU", "behind", [x], ["out0"])
    net.write(folder / "net")


def test_a_layer_that_wants_more_than_there_may_be(tmp_path: Path) -> None:
    growing(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path, "[fp16-range]"), memory=600 * MIB)
    (name,) = verdicts.failed(judged)
    assert name in ("s0::fp16-range::large", "s0::fp16-range::larger")
    assert judged[name].cause == "memory", judged[name]
    assert "600 MiB (--ncnn-parity-memory)" in judged[name].text
    assert judged["s0::fp16-range::small"].outcome == "passed"
    assert judged["s0::fp16-range::behind"].outcome == "skipped"


def test_a_flood_on_both_outputs_neither_fills_memory_nor_tears_messages(
    tmp_path: Path, own_temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """96 MiB, in the middle of a step that goes well."""
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:flood")
    networks.convolution(tmp_path)
    asked = verdicts.plan(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    judged = verdicts.of(asked)
    assert (tmp_path / "it_happened").exists()
    assert verdicts.failed(judged) == {}
    assert judged["s0::cpu-vs-vulkan::c1"].outcome == "passed"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB
    assert left_in(own_temporary_folder) == []


def test_of_what_is_said_the_beginning_and_the_end_are_kept() -> None:
    stderr = Stderr()
    stderr.feed(b"first\n\x1estep one\n")
    for _ in range(100):
        stderr.feed(b"x" * 5000)
    stderr.feed(b"\ncreate_shader_module failed\n\x1estep two\nstd::bad_alloc\nlast")
    stderr.end()
    assert len(stderr.text()) < HEAD + TAIL + 100
    assert stderr.text().startswith("first\nxxx")
    assert "bytes left out]" in stderr.text()
    assert stderr.text().endswith("create_shader_module failed\nstd::bad_alloc\nlast")
    assert stderr.shader_failures == {"step one": "create_shader_module failed"}
    assert stderr.no_memory == "std::bad_alloc"
    said = b"OpenBLAS error: Memory allocation still failed after 10 retries, giving up."
    stderr.feed(b"\n\x1estep three\n" + said + b"\n")
    assert stderr.no_memory == said.decode()
    stderr.feed(b"\x1estep three\n")
    assert stderr.no_memory is None, "that was another step"


def test_short_texts_are_kept_whole() -> None:
    for size in (0, 1, HEAD, TAIL, TAIL + 1, TAIL + HEAD):
        stderr = Stderr()
        stderr.feed(b"".join(b"%04d\n" % i for i in range(size // 5)))
        assert stderr.text() == "\n".join(f"{i:04}" for i in range(size // 5))


GREETING = "print('{\"environment\": {}}', flush=True)\n"


def test_a_worker_that_does_not_read_its_job_is_not_waited_for() -> None:
    """A job larger than a pipe holds."""
    command = (sys.executable, "-c", f"import time\n{GREETING}time.sleep(600)")
    job = Judge((), (), 0, {"in0": {"x": "x" * MIB}}, 1)
    with pytest.raises(EngineError, match=r"no answer for 3 s, .*; raise --ncnn-parity-timeout$"):
        list(Engine(3, command).run(job))


def test_what_is_not_a_message_is_reported() -> None:
    command = (sys.executable, "-c", f"{GREETING}input()\nprint('hello')\ninput()")
    engine = Engine(30, command)
    with pytest.raises(EngineError, match="wrote something other than a message: 'hello'"):
        list(engine.run(EMPTY))
    engine.close()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512 * MIB),
        ("1.5 GiB", 1536 * MIB),
        ("8g", 8 << 30),
        ("2048k", 2 * MIB),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("1e3", None),
        ("101%", None),
        ("0%", None),
        ("8 apples", None),
        ("", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert memory.parse(text) == size


def test_a_share_of_the_machine() -> None:
    whole = memory.machine()
    assert 0 < whole < 1 << 50
    assert memory.parse("50%") == whole // 2


def test_a_wrong_size_is_a_wrong_option(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--ncnn-parity", "--ncnn-parity-memory=64")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    expected = "--ncnn-parity-memory=64: expected 128 MiB or more, as MiB, 8GiB or 75%"
    assert expected in result.stderr.str()
