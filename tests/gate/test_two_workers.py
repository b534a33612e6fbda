"""Two workers that judge one sample at the same time: the results are those of one alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import faulty_driver
import networks
import other_system
import psutil
import pytest
import verdicts
from conftest import Gate

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.engine import jobs, process
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.engine.lanes import Lanes
from pytest_ncnn_parity.engine.protocol import Job, Judge, Result
from pytest_ncnn_parity.engine.room import Room
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.wire import encode_result
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec as specs

MUCH = Room(1 << 30, for_two=True)  # as if the network were large
COMPARE = "[cpu-vs-vulkan, fp16-vs-fp32, shipped, fp16-range]"


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    """Filled by `lanes`: the first, and the one beside it."""
    made: list[Engine] = []
    yield made
    for engine in made:
        engine.close()


@pytest.fixture
def lanes(engines: list[Engine]) -> Lanes:
    def another() -> Engine:
        engines.append(Engine(60.0))
        return engines[-1]

    return Lanes(another(), another, cores=16)


def judging(plan: Plan, sample: str) -> Judge:
    cases = [case for one in plan.spec.comparisons for case in plan.cases(one, sample)]
    return jobs.judge(plan, sample, cases, threads=2)


def shown(results: list[Result]) -> dict[str, str]:
    """Each result as it crosses the pipe, every digit of it, by the id of its case."""
    assert len({result.id for result in results}) == len(results)
    return {result.id: strict_json.line(encode_result(result)) for result in results}


def alone(job: Judge) -> dict[str, str]:
    engine = Engine(60.0)
    try:
        return shown(list(engine.run(job)))
    finally:
        engine.close()


@pytest.mark.once
def test_two_give_what_one_gives(
    lanes: Lanes, engines: list[Engine], example: Callable[[str], Path]
) -> None:
    """Of a network with a red layer, whose readers in fp16 decide which layers are at fault."""
    job = judging(check.plan(specs.load(example("style_decoder"))), "face")
    assert shown(list(lanes.run(job, MUCH))) == alone(job)
    first, beside = engines
    assert (first.pid, beside.pid) != (None, None)
    assert first.facts.devices == beside.facts.devices != []


@pytest.mark.once
def test_two_share_the_cores(lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Job] = []
    encode = process.encode_job

    def noting(job: Job) -> str:
        sent.append(job)
        return encode(job)

    monkeypatch.setattr(process, "encode_job", noting)
    networks.convolution(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    for threads, room in ((4, MUCH), (10, MUCH), (10, Room(0, for_two=True))):
        list(lanes.run(replace(job, threads=threads), room))
    assert [one.threads for one in sent if isinstance(one, Judge)] == [4, 4, 8, 8, 10]


@pytest.mark.once
def test_where_two_have_no_room_one_judges_both_parts_in_turn(
    lanes: Lanes, engines: list[Engine], tmp_path: Path
) -> None:
    networks.chain(tmp_path, 9)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    results = shown(list(lanes.run(job, Room(1 << 30, for_two=False))))
    assert (results, len(engines)) == (alone(job), 1)
    assert list(results) != list(alone(job))  # what runs in 16 bits on Vulkan comes last


@pytest.mark.once
def test_parts_in_turn_share_the_trajectory_of_each_sample_if_there_is_room(
    lanes: Lanes, engines: list[Engine], tmp_path: Path
) -> None:
    networks.chain(tmp_path, 9)
    plan = verdicts.plan(tmp_path, COMPARE, samples=2)
    first, second = (judging(plan, name) for name in ("s0", "s1"))
    steps: list[Step] = []
    engines[0].watch = steps.append
    times = []
    for job, fits in ((first, False), (first, True), (second, True), (second, False)):
        room = Room(1 << 30, for_two=False, for_trajectory=fits)
        assert shown(list(lanes.run(job, room))) == alone(job)
        alike = (step for step in steps if step.label == "cpu fp32" and not step.feed and not step.on)
        times.append(Counter(step.layer for step in alike if step.kind == "layer"))
        steps.clear()
    twice, *once, again = times
    assert twice == again == dict.fromkeys(range(1, 10), 2)
    assert once == [dict.fromkeys(range(1, 10), 1)] * 2
    list(engines[0].run(replace(first, keeps_trajectory=True)))
    assert shown(list(engines[0].run(second))) == alone(second)  # not with the other sample's values


@pytest.mark.once
def test_of_two_parts_in_turn_one_case_tells_what_cannot_be_loaded(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.convolution(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    faulty_driver.install(monkeypatch, tmp_path, "vkCreateInstance:1:11", once=False)
    assert shown(list(lanes.run(job, Room(1 << 30, for_two=False)))) == alone(job)


@pytest.mark.once
def test_of_two_parts_in_turn_one_case_tells_what_is_wrong_with_the_files(
    lanes: Lanes, tmp_path: Path
) -> None:
    networks.convolution(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    with (tmp_path / "net.bin").open("r+b") as file:
        file.truncate(100)
    results = list(lanes.run(job, Room(1 << 30, for_two=False)))
    assert shown(results) == alone(job)
    assert [result.outcome for result in results].count("failed") == 1


@pytest.mark.once
def test_a_second_worker_that_is_killed_costs_nothing_but_time(
    lanes: Lanes, engines: list[Engine], tmp_path: Path
) -> None:
    networks.chain(tmp_path, 200)  # so that it is in the middle of its part
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    results = lanes.run(job, MUCH)
    first = next(results)
    pid = engines[1].pid
    assert pid is not None
    psutil.Process(pid).kill()
    # how a layer was fed may differ: one that died in the network's own run is run on its own
    expected = {name: json.loads(text)["outcome"] for name, text in alone(job).items()}
    assert {result.id: result.outcome for result in [first, *results]} == expected
    assert ({result.id: result.outcome for result in lanes.run(job, MUCH)}, len(engines)) == (
        expected,
        2,
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("call", "once"),
    [("vkCreateComputePipelines:1", False), ("vkQueueSubmit:3", True)],
    ids=["always-in-loading", "once-in-a-step"],
)
def test_a_death_is_believed_only_of_a_worker_that_is_alone(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, once: bool
) -> None:
    """What dies once, beside another worker, is no fault of the network; what always dies is."""
    networks.convolution(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    faulty_driver.install(monkeypatch, tmp_path, f"{call}:11", once=once)
    together = shown(list(lanes.run(job, MUCH)))
    died = {name for name, result in together.items() if '"crash"' in result}
    assert bool(died) is not once
    if once:
        assert together == alone(job)
    else:
        monkeypatch.undo()
        faulty_driver.install(monkeypatch, tmp_path, f"{call}:11", once=False)
        assert together == alone(job)


@pytest.mark.once
def test_a_small_network_is_judged_by_one(lanes: Lanes, engines: list[Engine], tmp_path: Path) -> None:
    networks.chain(tmp_path)
    assert list(lanes.run(judging(verdicts.plan(tmp_path, COMPARE), "s0"), Room(1 << 20, for_two=True)))
    assert len(engines) == 1


@pytest.mark.once
def test_where_vulkan_does_not_start_there_is_one(
    lanes: Lanes, engines: list[Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.chain(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    faulty_driver.install(monkeypatch, tmp_path, "vkCreateInstance:1:11", once=False)
    results = shown(list(lanes.run(job, MUCH)))
    assert (results, engines[1].pid) == (alone(job), None)
    assert '"crash"' in results["cpu-vs-vulkan::l1"]


@pytest.mark.once
def test_two_give_what_one_gives_on_other_systems_too(
    lanes: Lanes, engines: list[Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_system.become(monkeypatch, tmp_path / "taken_away")
    networks.chain(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    assert shown(list(lanes.run(job, MUCH))) == alone(job)
    assert len(engines) == 2


@pytest.mark.once
def test_nothing_is_left_running_where_nobody_wants_the_rest(
    lanes: Lanes, engines: list[Engine], tmp_path: Path
) -> None:
    networks.chain(tmp_path, 9)
    results = lanes.run(judging(verdicts.plan(tmp_path, COMPARE), "s0"), MUCH)
    next(results)
    pids = [engine.pid for engine in engines]
    assert None not in pids
    results.close()  # type: ignore[attr-defined]
    assert [pid for pid in pids if pid is not None and psutil.pid_exists(pid)] == []


@pytest.mark.once
def test_the_worker_that_starts_early_is_the_one_that_runs_the_first_spec(
    gate: Gate, pytester: pytest.Pytester, started: Callable[[], int]
) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, "inputs: {noise: {in0: {random: normal}}}\ncompare: [cpu-vs-vulkan]\n")
    assert gate().result.ret == 0
    assert started() == 1
    gate("--collect-only")
    assert started() == 0


@pytest.mark.once
@pytest.mark.parametrize("fault", ["11", "hang"])
def test_a_driver_that_fails_a_worker_before_its_first_job_costs_nothing(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WAKE_SECONDS", 5.0)
    networks.chain(tmp_path)
    job = judging(verdicts.plan(tmp_path, "[fp16-range, cpu-vs-vulkan]"), "s0")
    faulty_driver.install(monkeypatch, tmp_path, f"vkCreateInstance:1:{fault}")
    early = EarlyWorker()
    early.start(None)
    engine = Engine(60.0, early=early)
    try:
        results = shown(list(engine.run(job)))
    finally:
        engine.close()
    assert faulty_driver.times_it_happened(tmp_path) == 1
    assert results == alone(job)


@pytest.mark.once
def test_a_worker_that_nobody_needs_is_ended(
    gate: Gate, pytester: pytest.Pytester, started: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    networks.chain(pytester.path)
    networks.spec(pytester.path, "inputs: {noise: {in1: {random: normal}}}\n")
    assert gate().result.ret == pytest.ExitCode.INTERRUPTED
    assert started() == 1
    assert list(pytester.path.glob("ncnn-parity-*")) == []  # the folder of one that runs


# of every worker that starts and every case that has run, a line
ORDER = """\
import subprocess
from pathlib import Path

lines = Path(__file__).with_name("order").open("a", buffering=1)
plain = subprocess.Popen.__init__

def noted(self, command, *args, **kwargs):
    if "pytest_ncnn_parity.worker.main" in command:
        lines.write("worker\\n")
    plain(self, command, *args, **kwargs)

subprocess.Popen.__init__ = noted

def pytest_runtest_logreport(report):
    if report.when == "call":
        lines.write(report.nodeid.partition(".")[0] + "\\n")
"""


@pytest.mark.once
@pytest.mark.parametrize("option", ["--ncnn-parity-memory=2GiB", "--ncnn-parity-cache=kept"])
def test_the_next_spec_finds_a_worker_that_started_while_the_last_one_ran(
    gate: Gate, pytester: pytest.Pytester, option: str
) -> None:
    (pytester.path / "conftest.py").write_text(ORDER, "utf-8")
    for name in ("a", "b", "c"):
        networks.chain(pytester.path, name=name)
        networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n", name)
    assert gate(option).result.ret == 0
    order = (pytester.path / "order").read_text("utf-8").splitlines()
    early = (
        "cache" not in option
    )  # kept results need no worker, and it is not known whether there are any
    before = {name: order[: order.index(name)].count("worker") for name in ("a", "b", "c")}
    assert before == {"a": 1 + early, "b": 2 + early, "c": 3}
    assert order.count("worker") == 3


@pytest.mark.once
def test_of_two_workers_the_first_is_the_one_that_started_early(tmp_path: Path) -> None:
    """It has woken the driver, and takes the longer part."""
    networks.chain(tmp_path)
    job = judging(verdicts.plan(tmp_path, COMPARE), "s0")
    others = {child.pid for child in psutil.Process().children()}
    early = EarlyWorker()
    early.start(None)
    (pid,) = {child.pid for child in psutil.Process().children()} - others
    engine = Engine(60.0, early=early)
    lanes = Lanes(engine, lambda: Engine(60.0, early=early), cores=2)
    try:
        assert shown(list(lanes.run(job, MUCH))) == alone(job)
        assert engine.pid == pid
    finally:
        lanes.close()
        engine.close()
        early.close()
