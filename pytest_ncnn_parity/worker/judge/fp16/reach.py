"""Whether something is found further on in a network, which may be long, and whose branches may meet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)


class Reach(Generic[State]):
    """Searches from state to state, and asks about each of them once."""

    def __init__(self, further: Callable[[State], Iterable[State] | None]) -> None:
        """`further` gives the states behind one, or None if what is sought is found there."""
        self._further = further
        self._known: dict[State, bool] = {}

    def finds(self, start: State) -> bool:
        """Whether what is sought is found at `start` or anywhere behind it."""
        came_from: dict[State, State | None] = {start: None}
        to_ask = [start]
        while to_ask:
            state = to_ask.pop()
            further = () if state in self._known else self._further(state)
            if further is None or self._known.get(state, False):
                way: State | None = state
                while way is not None:
                    self._known[way] = True
                    way = came_from[way]
                return True
            for one in further:
                if one not in came_from:
                    came_from[one] = state
                    to_ask.append(one)
        self._known.update(dict.fromkeys(came_from, False))
        return False
