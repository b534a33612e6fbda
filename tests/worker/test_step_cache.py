"""What steps made, kept while a search lasts: what is found again, and what goes when room is short."""

from __future__ import annotations

from itertools import count
from weakref import WeakSet

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ncnn_parity.worker.networks.step_cache import StepCache
from pytest_ncnn_parity.worker.values.blob import Blob, Made

VALUE = 200  # bytes of a value of 50 elements


class Steps:
    """Steps by name, that count how often each was taken."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self._now = 0.0
        self.cache = StepCache(limit, VALUE, lambda: self._now)
        self.taken: list[str] = []

    def __call__(self, names: str) -> None:
        """Take steps, each of which makes one value; those with large letters take long."""
        for name in names:
            assert self.take(name)["out"].array[0] == ord(name)

    def take(self, name: str, whole: bool = False, seconds: float | None = None) -> Made:
        def make() -> Made:
            self.taken.append(name)
            self._now += 9.0 if name.isupper() else 1.0
            return {"out": Blob(None, np.full(VALUE // 4, ord(name), np.float32))}

        return self.cache.get(lambda: name, make, whole, seconds)

    def trials(self, *names: str) -> None:
        """Begin a trial for each of `names`, and take these steps in it."""
        for some in names:
            self.cache.open()
            self(some)

    def fresh(self, names: str) -> str:
        """Those of the steps `names` that were not found again."""
        before = len(self.taken)
        self(names)
        return "".join(self.taken[before:])


def test_it_is_off_until_it_is_opened() -> None:
    steps = Steps()
    assert not steps.cache.is_open
    assert steps.fresh("aa") == "aa"


def test_nobody_asks_for_a_key_while_it_is_off() -> None:
    """A key costs a digest of every input."""

    def key() -> str:
        raise AssertionError("asked for")

    outputs = {"out": Blob(None, np.zeros(1, np.float32))}
    cache = StepCache(1 << 20, 0)
    assert cache.get(key, lambda: outputs) is outputs
    cache.open()
    with pytest.raises(AssertionError, match="asked for"):
        cache.get(key, lambda: outputs)


def test_the_same_step_on_the_same_values_is_taken_once() -> None:
    steps = Steps()
    steps.cache.open()
    assert steps.fresh("aab") == "ab"
    assert steps.take("a") is steps.take("a")
    steps.cache.open()
    assert steps.fresh("abc") == "c", "in the next trial as well"


def test_closed_it_forgets() -> None:
    steps = Steps()
    steps.cache.open()
    steps("a")
    steps.cache.close()
    assert not steps.cache.is_open
    assert steps.fresh("aa") == "aa"
    steps.cache.open()
    assert steps.fresh("a") == "a"


def test_the_steps_of_a_network_that_goes_are_forgotten() -> None:
    cache, gone, kept = StepCache(1 << 20, 0), object(), object()
    outputs = {"out": Blob(None, np.zeros(1, np.float32))}
    cache.open()
    for owner in (gone, kept):
        cache.get(lambda owner=owner: (owner, "a"), lambda: outputs)
    cache.forget(gone)
    assert cache.get(lambda: (kept, "a"), dict) is outputs
    assert cache.get(lambda: (gone, "a"), dict) == {}


def test_a_step_that_fails_is_taken_again() -> None:
    cache, turns = StepCache(1 << 20, 0), count()

    def fail() -> Made:
        next(turns)
        raise ValueError

    cache.open()
    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            cache.get(lambda: "a", fail)
    assert next(turns) == 2


# -- when room is short --------------------------------------------------------------------------


def test_what_a_trial_made_first_stays() -> None:
    """The start of a network is what the next trial has in common with this one."""
    steps = Steps(3 * VALUE)
    steps.cache.open()
    steps("abcde")
    assert steps.fresh("abc") == ""
    assert steps.fresh("de") == "de"


def test_what_two_trials_did_not_use_goes_first() -> None:
    steps = Steps(3 * VALUE)
    steps.trials("abc", "b", "bxy")
    assert steps.fresh("bxy") == ""
    assert steps.fresh("ac") == "ac"


def test_what_the_last_trial_used_stays_until_this_one_asks_for_it() -> None:
    """Or the start of a network, which never has room, would drop the rest before its turn comes."""
    steps = Steps(3 * VALUE)
    for _ in range(3):
        steps.cache.open()
        first = steps.fresh("abCDE")
    assert first == "ab"


def test_what_took_long_stays_in_the_place_of_what_did_not() -> None:
    steps = Steps(3 * VALUE)
    steps.cache.open()
    steps("aBcDE")
    assert steps.fresh("BDE") == ""
    assert steps.fresh("ac") == "ac"
    assert steps.fresh("F") == "F", "no longer than any of those that are kept"
    assert steps.fresh("BDE") == ""
    steps.trials("", "xyz")
    assert steps.fresh("xyz") == "", "an old trial's values go, however long they took"


def test_of_what_old_trials_left_what_was_unused_longest_goes_first() -> None:
    steps = Steps(3 * VALUE)
    steps.trials("abc", "ab", "", "x")
    steps.cache.open()
    assert steps.fresh("abx") == ""


def test_closing_makes_room() -> None:
    steps = Steps(2 * VALUE)
    steps.cache.open()
    steps("ab")
    steps.cache.close()
    steps.cache.open()
    steps("cd")
    assert steps.fresh("cd") == ""


def test_values_that_all_trials_use_stay_for_what_making_them_again_takes() -> None:
    """Here they take 1 second now, because what leads to them is at hand."""
    steps = Steps(3 * VALUE)
    steps.cache.open()
    steps("A")
    steps.take("b", seconds=20.0)
    steps.take("c", seconds=5.0)
    steps("D")
    assert steps.fresh("AD") == ""
    steps.trials("", "", "wxy")
    assert steps.fresh("wxb") == "", "the old ones of other trials go"
    steps.take("e", seconds=10.0)
    assert steps.fresh("xeb") == ""


def test_the_outputs_of_whole_networks_stay_however_many_steps_there_are() -> None:
    steps = Steps(2 * VALUE)
    for names in ("abc", "de", "de"):
        steps.trials(names)
        steps.take("w", whole=True)
    steps.cache.open()
    assert steps.fresh("de") == ""
    steps.take("w", whole=True)
    assert steps.taken.count("w") == 1
    steps.cache.close()
    steps.cache.open()
    steps.take("w", whole=True)
    assert steps.taken.count("w") == 2


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=60))
def test_it_never_keeps_more_than_its_limit(taken: list[tuple[int, bool]]) -> None:
    """Values of 1 to 10 elements, 10 of which may be kept; some of the steps begin a trial."""
    cache = StepCache(10 * 4, 0)
    alive: WeakSet[Blob] = WeakSet()

    def make() -> Made:
        value = Blob(None, np.zeros(elements, np.float32))
        alive.add(value)
        return {"out": value}

    cache.open()
    for elements, begins in taken:
        if begins:
            cache.open()
        cache.get(lambda: elements, make)  # noqa: B023
        assert sum(blob.array.size for blob in alive) <= 10
