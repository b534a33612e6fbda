"""A worker spoken to by its protocol alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import networks

from pytest_ncnn_parity.engine import jobs, spawn
from pytest_ncnn_parity.engine.protocol import Job, Judge
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.wire import encode_job
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec as specs


def planned(folder: Path, compare: str) -> Plan:
    networks.convolution(folder)
    return check.plan(specs.load(networks.spec(folder, f"{networks.NOISE}compare: {compare}\n")))


def talk(*asked: Job) -> list[dict[str, Any]]:
    """All messages of a worker that is `asked` jobs; native steps as text."""
    done = subprocess.run(
        spawn.Order().arguments,
        input="".join(encode_job(job) + "\n" for job in asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    return [{**m, "at": str(Step(**m["at"]))} if "at" in m else m for m in messages]


def job(plan: Plan, *names: str) -> Judge:
    cases = [case for c in plan.spec.comparisons for case in plan.cases(c)]
    chosen = [case for case in cases if not names or case.id in names]
    return jobs.judge(plan, "noise", chosen, 1)
