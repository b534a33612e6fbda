"""`Frozen` behaves as `dataclass(frozen=True)` does, which a twin of each class stands for."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pytest_ncnn_parity.base.frozen import Frozen


class Setup(Frozen):
    device: str
    threads: int = 2
    options: dict[str, int] = field(default_factory=dict, hash=False)
    seen: list[int] = field(default_factory=list, compare=False)
    text: str = field(default="", repr=False)

    @cached_property
    def name(self) -> str:
        return f"{self.device} {self.threads}"


class Wider(Setup):
    more: int = 0


class Other(Frozen):
    device: str


class Empty(Frozen):
    pass


@dataclass(frozen=True)
class TwinSetup:
    device: str
    threads: int = 2
    options: dict[str, int] = field(default_factory=dict, hash=False)
    seen: list[int] = field(default_factory=list, compare=False)
    text: str = field(default="", repr=False)


CHANGES: list[dict[str, Any]] = [
    {},
    {"device": "vulkan"},
    {"threads": 3},
    {"options": {"a": 1}},
    {"seen": [1]},
    {"text": "other"},
]


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_equal_and_hashed_and_shown_as_its_twin(change: dict[str, Any]) -> None:
    one, other = Setup("cpu"), replace(Setup("cpu"), **change)
    twin, other_twin = TwinSetup("cpu"), replace(TwinSetup("cpu"), **change)

    assert asdict(other) == asdict(other_twin)
    assert (one == other) is (twin == other_twin)
    assert (hash(one) == hash(other)) is (hash(twin) == hash(other_twin))
    assert f"Twin{other!r}" == repr(other_twin)
    assert len({one, other}) == len({twin, other_twin})


def test_only_instances_of_one_class_are_equal() -> None:
    assert Setup("cpu") != Wider("cpu")
    assert Other("cpu") != "cpu"
    assert Other("cpu") != Setup("cpu")
    assert Empty() == Empty()
    assert len({Empty(), Empty(), Other("cpu"), Other("cpu")}) == 2


def test_a_subclass_has_the_fields_of_its_base() -> None:
    assert [one.name for one in fields(Wider)] == [*(one.name for one in fields(Setup)), "more"]
    assert Wider("cpu", more=1) != Wider("cpu")
    assert repr(Wider("cpu", more=1)).endswith("more=1)")


@pytest.mark.parametrize("name", ["device", "threads", "seen", "name", "unknown"])
def test_nothing_can_be_assigned_or_deleted(name: str) -> None:
    setup = Setup("cpu")
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(setup, name, 1)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(setup, name)
    assert setup == Setup("cpu")


def test_a_cached_property_is_kept_and_does_not_make_a_difference() -> None:
    setup = Setup("cpu")
    assert setup.name is setup.name
    assert setup == Setup("cpu")
    assert replace(setup, threads=3).name == "cpu 3"


def test_an_instance_can_be_copied_and_pickled() -> None:
    setup = Setup("cpu", options={"a": 1})
    for twin in (copy.copy(setup), copy.deepcopy(setup), pickle.loads(pickle.dumps(setup))):
        assert twin == setup
        with pytest.raises(FrozenInstanceError):
            twin.device = "vulkan"


def test_pydantic_validates_it() -> None:
    read = TypeAdapter(Wider).validate_json('{"device": "cpu", "options": {"a": 1}}')
    assert read == Wider("cpu", options={"a": 1})
    with pytest.raises(FrozenInstanceError):
        read.device = "vulkan"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="threads"):
        TypeAdapter(Setup).validate_python({"device": "cpu", "threads": "many"})


def test_an_argument_that_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'unknown'"):
        Setup("cpu", unknown=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'device'"):
        Setup()  # type: ignore[call-arg]
