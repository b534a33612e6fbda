"""What progress says of the native steps of a spec: which step, and why it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_ncnn_parity.engine.steps import Step


@dataclass
class Purpose:
    """Passes to `show` each native step of a network of `layers` layers, in words.

    `why`: what the steps are run for; empty where they judge a sample.
    """

    show: Callable[[str], None]
    layers: int
    why: str = ""

    def watch(self, step: Step) -> None:
        progress = step.progress(self.layers)
        self.show(f"{self.why}: {progress}" if self.why else progress)

    @contextmanager
    def of(self, why: str) -> Iterator[None]:
        """While this context lasts, steps are run for the purpose `why`."""
        before, self.why = self.why, why
        try:
            yield
        finally:
            self.why = before
