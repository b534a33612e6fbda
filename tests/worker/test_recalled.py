"""The trajectory in the trials of a search: what is computed again, and that it is the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pytest
from graphs import RESIDUAL, network

from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed, failed
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.recalled import RecalledTrajectory, Trace
from pytest_ncnn_parity.worker.values.stepping import Chain

GRAPH = network(*RESIDUAL)
LAYERS = [layer for layer in GRAPH.layers if layer.type != "Input"]
EVERY = [layer.name for layer in LAYERS]  # fork, conv, relu, add, prob


class Search:
    """Trials on a network whose layers add their numbers to all that they read."""

    def __init__(self, room: bool = True, broken: str = "", kind: str = "refused") -> None:
        self.ran: list[str] = []  # the layers that the last trial ran
        self.seconds: list[float] = []  # of the values that were asked for
        self._kept: dict[Hashable, Made] = {}
        self._room = room
        self.broken = broken
        self._kind = kind
        self._trace = Trace(self._keep)

    def _keep(self, key: Callable[[], Hashable], make: Callable[[], Made], *, seconds: float) -> Made:
        self.seconds.append(seconds)
        if key() in self._kept:
            return self._kept[key()]
        made = make()
        if self._room:
            self._kept[key()] = made
        return made

    def _run(self, layer: Layer, blobs: Made) -> Made:
        self.ran.append(layer.name)
        if layer.name == self.broken:
            raise failed(Step("layer", "cpu fp32", layer.number, layer.name), self._kind, "for a test")
        read = sum(blobs[blob].array for blob in layer.inputs)
        outputs = {blob: Blob.of(read + np.float32(layer.number)) for blob in layer.outputs}
        for blob, value in outputs.items():
            value.derived(blob, [blobs[name] for name in layer.inputs])
        return outputs

    def trial(self, read: Sequence[str] = (), late: Sequence[str] = ()) -> Made:
        """Take one in which elements of `read` are read once they are made, and of `late` at the end.

        Returns all values.
        """
        self.ran.clear()
        inputs = {"in0": Blob.of(np.array([1.0, -2.0, 3.0], np.float32))}
        trajectory = RecalledTrajectory(self._trace, lambda: Chain(GRAPH.layers, inputs, self._run))
        values: Made = {}
        for layer in LAYERS:
            made = trajectory.outputs(layer)
            assert all(made[blob].array.shape == (3,) for blob in read if blob in made)
            values |= made
        assert all(values[blob].array.shape == (3,) for blob in late)
        return values


def sums() -> dict[str, float]:
    """What is added to the input in each blob."""
    left = 1.0
    held = left + 2.0 + 3.0
    joined = left + held + 4.0
    return {"left": left, "right": left, "wide": left + 2.0, "held": held, "joined": joined}


def test_a_trial_that_reads_no_elements_runs_no_layer_but_the_first_one_does() -> None:
    search = Search()
    first = search.trial()
    assert search.ran == EVERY
    again = search.trial()
    for blob, value in again.items():
        assert (value.shape, value.size, value.dtype, value.floating) == ((3,), 3, np.float32, True)
        assert value.digest == first[blob].digest
    assert [again[blob].absmax for blob in ("wide", "held")] == [6.0, 9.0]
    assert search.ran == []


@pytest.mark.parametrize("room", [True, False])
def test_elements_are_the_same_in_each_trial(room: bool) -> None:
    search = Search(room)
    for read in ([], ["held"], ["held", "right"], [], ["left"]):
        values = search.trial(read)
        for blob, added in sums().items():
            number = 2.0 if blob == "joined" else 1.0  # it is the sum of two branches
            assert values[blob].array.tolist() == [number * x + added for x in (1.0, -2.0, 3.0)]


def test_a_value_that_is_read_is_computed_once_more_and_kept_for_the_next_trial() -> None:
    search = Search()
    search.trial()
    search.trial(["held"])
    assert search.ran == EVERY[:3], "up to the layer that makes it"
    search.trial(["held"])
    assert search.ran == []
    search.trial(["held", "right", "joined"])
    assert search.ran == EVERY[:4], "one run for both, although `right` was made long before `joined`"


def test_what_the_first_trial_reads_is_kept_as_well() -> None:
    search = Search()
    search.trial(["held"])
    assert search.ran == EVERY
    search.trial(["held"])
    assert search.ran == []


def test_without_room_each_trial_runs_what_leads_to_the_values_that_it_reads() -> None:
    search = Search(room=False)
    for _ in range(3):
        search.trial(["wide", "held"])
    assert search.ran == EVERY[:3]


def test_a_value_whose_last_reader_has_run_can_still_be_read() -> None:
    search = Search()
    search.trial()
    search.trial(["joined"], late=["wide"])
    assert search.ran == [*EVERY[:4], *EVERY[:2]]


def test_a_value_is_worth_the_seconds_from_the_start_of_the_trajectory() -> None:
    search = Search()
    search.trial(["left", "held", "joined"])
    assert 0.0 < search.seconds[0] < search.seconds[1] < search.seconds[2]


def test_its_elements_are_rounded_as_those_of_any_value() -> None:
    search = Search()
    search.trial()
    value = search.trial()["held"]
    assert value.rounded(None) is value
    assert value.rounded("fp16") is value.rounded("fp16")
    assert value.rounded("fp16").array.tolist() == value.array.tolist()


@pytest.mark.parametrize(("kind", "again"), [("refused", []), ("memory", EVERY[:2])])
def test_a_layer_that_cannot_be_run_is_run_again_only_if_it_lacked_memory(
    kind: str, again: list[str]
) -> None:
    search = Search(broken="conv", kind=kind)
    for ran in (EVERY[:2], again):
        with pytest.raises(StepFailed, match="conv") as failure:
            search.trial()
        assert search.ran == ran
        assert (failure.value.death.kind, failure.value.step.name) == (kind, "conv")


def test_a_layer_that_can_no_longer_be_run_fails_where_its_elements_are_read() -> None:
    search = Search(room=False)
    search.trial()
    search.broken = "conv"
    assert search.trial()["held"].absmax == 9.0
    with pytest.raises(StepFailed, match="conv"):
        search.trial(["held"])
