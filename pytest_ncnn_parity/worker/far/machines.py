"""The declared workers of a process, each of which is started when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.workers import EXAMPLE, Worker
from pytest_ncnn_parity.worker.failures import Unavailable

if TYPE_CHECKING:
    from pytest_ncnn_parity.worker.far.machine import FarMachine


class Listener(Frozen):
    """Callbacks for news of declared workers.

    `glance`: a sign of life. `hear`: a worker's name and what was printed there. `learn`: a worker's
    name and the facts that it states about itself.
    """

    glance: Callable[[], None] = lambda: None
    hear: Callable[[str, str], None] = lambda *_: None
    learn: Callable[[str, Mapping[str, str]], None] = lambda *_: None


class FarMachines:
    """The declared workers by name, kept as long as jobs declare them in the same way."""

    def __init__(self, enter: Callable[[Step], None], listener: Listener) -> None:
        self._enter = enter
        self._listener = listener
        self._declared: dict[str, Worker] = {}
        self._machines: dict[Worker, FarMachine] = {}

    def prepare(self, workers: Iterable[Worker]) -> None:
        """Begin another job, which declares `workers`."""
        self._declared = {worker.name: worker for worker in workers}
        for machine in self._machines.values():
            machine.forget_deaths()

    def of(self, name: str) -> FarMachine:
        """Return the worker of that name. Raises Unavailable if it is not declared."""
        worker = self._declared.get(name)
        if worker is None:
            raise Unavailable(
                f"no worker {name} is declared: add '{name}: {EXAMPLE}' to ncnn_parity_workers in the "
                f"ini, or give --ncnn-parity-worker='{name}: {EXAMPLE}'",
                no_worker=True,
            )
        if worker not in self._machines:
            from pytest_ncnn_parity.worker.far.machine import FarMachine  # noqa: PLC0415 - most runs have none

            listener = self._listener
            self._machines[worker] = FarMachine(
                worker,
                self._enter,
                listener.glance,
                lambda text: listener.hear(name, text),
                lambda facts: listener.learn(name, facts),
            )
        return self._machines[worker]
