"""`Frozen`: the base of frozen dataclasses whose definition costs a fifth of `dataclass(frozen=True)`.

`dataclass(frozen=True)` compiles six methods for each class, in about a millisecond, and each process of
a gate defines some eighty classes before it can begin. Only `__init__` differs between classes, so only
that is compiled here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # only type checkers read it, and importing it would cost more than this module saves

    def dataclass_transform(**_: Any) -> Callable[[T], T]:
        return lambda base: base


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Frozen:
    """Makes each subclass a dataclass whose fields are set once, by `__init__`.

    Instances are equal if they are of one class and their fields are equal. Assigning or deleting an
    attribute raises dataclasses.FrozenInstanceError.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

    _compared: ClassVar[attrgetter[tuple[Any, ...]]]  # the values that `==` and `hash` depend on
    _hashed: ClassVar[attrgetter[tuple[Any, ...]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(eq=False, repr=False)(cls)
        every = fields(cls)
        # the class as well, because there may be no fields, and an attrgetter needs a name
        compared = (one.name for one in every if one.compare)
        hashed = (one.name for one in every if (one.compare if one.hash is None else one.hash))
        cls._compared = attrgetter("__class__", *compared)
        cls._hashed = attrgetter("__class__", *hashed)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared(self) == self._compared(other)

    def __hash__(self) -> int:
        return hash(self._hashed(self))

    def __repr__(self) -> str:
        shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"
