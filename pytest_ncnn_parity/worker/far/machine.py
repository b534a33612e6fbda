"""The ncnn of a declared worker, whose networks have the same interface as those of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from pytest_ncnn_parity.engine import endings
from pytest_ncnn_parity.engine.protocol import OUT_OF_MEMORY, Model
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.workers import EMULATED_PATIENCE, Worker
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable, failed
from pytest_ncnn_parity.worker.far import answers, commands
from pytest_ncnn_parity.worker.far.link import STARTUP_SECONDS, Ended, Garbled, Late, Link
from pytest_ncnn_parity.worker.far.net import FarNet, ValuesThere
from pytest_ncnn_parity.worker.networks.native import Fed, Wanted
from pytest_ncnn_parity.worker.networks.vulkan import DISCRETE
from pytest_ncnn_parity.worker.values.blob import Blob

MOST_DEATHS = 20  # a worker that dies more often than this is given up


class FarMachine:
    """One declared worker, as a `native.Machine`. It is started on first use, and again after it died.

    `enter` announces each native step. `glance` is called now and then while the worker is waited for.
    `hear` receives what is printed there, `learn` the facts that it states about itself.
    """

    def __init__(
        self,
        worker: Worker,
        enter: Callable[[Step], None],
        glance: Callable[[], None],
        hear: Callable[[str], None],
        learn: Callable[[Mapping[str, str]], None],
    ) -> None:
        self.worker = worker
        self.name = worker.name
        self._enter, self._glance, self._hear, self._learn = enter, glance, hear, learn
        self._link: Link | None = None
        self._greeting: answers.Greeting | None = None
        self._devices: tuple[answers.Device, ...] | None = None
        self._given_up: Death | None = None
        self._dead: dict[Step, Death] = {}
        self._deaths = 0
        self._nets = 0
        self.loaded: set[int] = set()
        self.values = ValuesThere()

    # -- its properties --------------------------------------------------------------------------

    @property
    def version(self) -> str:
        return self._asked.ncnn

    @property
    def architecture(self) -> str:
        return self._asked.machine

    @property
    def has_half_kernels(self) -> bool:
        return bool({"arm_vfpv4", "arm_asimdhp"}.intersection(self._asked.features))

    def has_option(self, name: str) -> bool:
        return name in self._asked.options

    def threads(self, share: int) -> int:
        return self.worker.threads or (self._asked.cores if self.worker.remote else share)

    def require_vulkan(self, index: int) -> None:
        if self._devices is None:
            step = Step("vulkan", self.name)
            self._enter(step)
            message, _ = self.ask(step, {"do": "vulkan"})
            self._devices = self.read(step, lambda: answers.devices(message))
            named = ", ".join(one.name for one in self._devices)
            self._learn({**self._asked.shown, "devices": named})
        if not self._devices:
            raise Unavailable(
                f"no Vulkan device on the worker {self.name}: install a driver there", no_vulkan=True
            )
        if index >= len(self._devices):
            there = ", ".join(f"{i} ({one.name})" for i, one in enumerate(self._devices))
            raise Unavailable(
                f"no Vulkan device {index} on the worker {self.name}: it has {there}", no_vulkan=True
            )

    def device_name(self, index: int) -> str:
        return self._devices[index].name if self._devices else "unknown"

    def takes_int8(self, index: int) -> bool:
        return self._devices is not None and self._devices[index].type == DISCRETE

    @property
    def _asked(self) -> answers.Greeting:
        if self._greeting is None:
            self._start()
        assert self._greeting is not None
        return self._greeting

    # -- its networks ----------------------------------------------------------------------------

    def load(
        self,
        step: Step,
        model: Model,
        graph: Graph | None,
        options: Mapping[str, bool | int],
        vulkan: int | None,
    ) -> FarNet:
        if model.setup is not None:
            raise Unavailable(
                f"{model.setup} registers custom layers, which the worker {self.name} does not have: "
                "only ncnn runs there",
                lasting=True,
            )
        assert graph is not None
        self._nets += 1
        net = FarNet(self, self._nets, step, model, graph, options, vulkan)
        self._enter(step)
        self._lost()
        net.load()
        return net

    def run(
        self, net: FarNet, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]
    ) -> tuple[list[Blob], float]:
        """Run `net`, which is loaded there first if needed; return the outputs and the milliseconds.

        Raises StepFailed, or Unavailable if the worker was given up.
        """
        self._enter(step)
        self._refuse_dead(step)
        if self._lost() or net.number not in self.loaded:
            self._link = self._link or self._start()
            net.load()
            self._enter(step)
        return net.run_there(step, inputs, outputs)

    # -- its start and end -----------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        """By what factor this worker may be slower than this machine."""
        return EMULATED_PATIENCE if self.worker.emulated else 1.0

    @property
    def _seconds(self) -> float:
        return self.worker.timeout * self._patience

    def _start(self) -> Link:
        """Start the worker. If it cannot be started, raises the same StepFailed now and ever after."""
        step = Step("worker", self.name)
        if self._given_up is not None:
            raise StepFailed(step, self._given_up)
        self._enter(step)
        memory = None if self.worker.emulated else self.worker.memory
        link: Link | None = None
        try:
            if not hasattr(os, "fork"):
                raise Garbled("workers can be used from Linux and macOS only")
            link = Link(self.worker, self._glance)
            message = link.greet(memory, STARTUP_SECONDS * self._patience)
            if "no_ncnn" in message:
                raise Garbled(f"its Python has no ncnn ({message['no_ncnn']}): pip install ncnn there")
            self._greeting = answers.greeting(message)
        except OSError as error:
            problem = f"{commands.argv(self.worker)[0]} cannot be started here: {error.strerror}"
        except Late:
            problem = f"it did not greet within {STARTUP_SECONDS * self._patience:g} s"
        except Ended as ended:
            problem = commands.why_not(self.worker, ended.status, ended.said)
        except (Garbled, answers.Malformed) as garbled:
            problem = str(garbled)
        else:
            self._link = link
            self.loaded.clear()
            self.values.clear()
            self._learn(self._greeting.shown)
            return link
        if link is not None:
            link.kill()
        raise StepFailed(step, self._give_up(f"the worker {self.name} ({self.worker}): {problem}"))

    def _give_up(self, detail: str) -> Death:
        self._hang_up()
        self._given_up = Death("worker", detail, Step("worker", self.name))
        return self._given_up

    def _lost(self) -> bool:
        """Return whether the worker has ended between two steps, neither of which is to blame."""
        if self._link is not None and self._link.has_ended():
            self._hang_up()
        return self._link is None

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.kill()
            self._link = None
        self.loaded.clear()
        self.values.clear()

    close = _hang_up

    def forget_deaths(self) -> None:
        """Begin another job, whose steps may have the same names but other inputs, and a new link."""
        self._dead = {
            step: death
            for step, death in self._dead.items()
            if step.ends_alike and death.kind != "worker"
        }

    def _refuse_dead(self, step: Step) -> None:
        if self._given_up is not None:
            raise Unavailable(f"not run: {self._given_up.detail}", death=self._given_up)
        if step in self._dead:
            raise StepFailed(step, self._dead[step])

    def ask(
        self,
        step: Step,
        request: answers.Message,
        parts: Sequence[memoryview] = (),
        size: Callable[[answers.Message], int] = lambda _: 0,
    ) -> tuple[answers.Message, bytearray]:
        """Send a request of `step`; return the answer and its data, as `Link.ask`.

        Raises StepFailed, or Unavailable if the worker was given up.
        """
        self._refuse_dead(step)
        link = self._link or self._start()
        try:
            message, data = link.ask(request, parts, self._seconds, size)
        except Late:
            detail = f"no answer for {self._seconds:g} s, so it was killed"
            raise self._died(step, Death("timeout", detail, step)) from None
        except Ended as ended:
            raise self._died(step, self._death(step, ended)) from None
        except Garbled as garbled:
            raise StepFailed(step, self._give_up(f"the worker {self.name}: {garbled}")) from None
        said = message.get("said")
        if isinstance(said, str) and said:
            self._hear(said)
        if "refused" in message:
            raise failed(step, "refused", f"at {self.name}: {message['refused']}")
        return message, data

    def read(self, step: Step, decode: Callable[[], answers.T]) -> answers.T:
        """Return what `decode` returns; if it raises Malformed, give the worker up, raise StepFailed."""
        try:
            return decode()
        except answers.Malformed as malformed:
            raise StepFailed(step, self._give_up(f"the worker {self.name}: {malformed}")) from None

    def _death(self, step: Step, ended: Ended) -> Death:
        if ended.code is None:
            how = f"{self.worker.kind}: {endings.shown(ended.status)}"
            detail = f"the link to the worker {self.name} was cut ({how})"
            return Death("worker", detail, step, ended.said)
        refused = ended.code == OUT_OF_MEMORY or "std::bad_alloc" in ended.said
        return Death("memory" if refused else "crash", endings.shown(ended.code), step, ended.said)

    def _died(self, step: Step, death: Death) -> StepFailed:
        self._hang_up()
        self._dead[step] = death
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            self._give_up(f"the worker {self.name} died {self._deaths} times; the last: {death.detail}")
        return StepFailed(step, death)
