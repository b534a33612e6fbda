"""The environment that a worker process is started in."""

from __future__ import annotations

import json
import sys

import pytest

from pytest_ncnn_parity.engine.spawn import FILL, OTHER_FILL, Order, spawn

HUGE_PAGES = "glibc.malloc.hugetlb=1"
TELL = "import json, os; print(json.dumps(dict(os.environ)))"


def environment(order: Order) -> dict[str, str]:
    spawned = spawn(order)
    with spawned.home, spawned.process as process:
        said, _ = process.communicate()
    told: dict[str, str] = json.loads(said)
    return told


@pytest.mark.parametrize("fill", [FILL, OTHER_FILL])
def test_fresh_memory_is_filled_and_comes_in_huge_pages(
    fill: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setenv("MALLOC_PERTURB_", "1")
    told = environment(Order(command=(sys.executable, "-c", TELL), fill=fill))
    assert (told["MALLOC_PERTURB_"], told["GLIBC_TUNABLES"]) == (str(fill), HUGE_PAGES)


def test_the_tunables_of_the_user_stay_and_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    own = "glibc.malloc.hugetlb=0:glibc.malloc.arena_max=1"  # of one given twice, glibc takes the last
    monkeypatch.setenv("GLIBC_TUNABLES", own)
    told = environment(Order(command=(sys.executable, "-c", TELL)))
    assert told["GLIBC_TUNABLES"] == f"{HUGE_PAGES}:{own}"
