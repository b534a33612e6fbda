"""Custom layers: calls the spec's `setup` with each network before it is loaded."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import ncnn

from pytest_ncnn_parity.base.errors import guess
from pytest_ncnn_parity.engine.evidence import Death
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable

_OURS = Path(__file__).resolve().parents[2]
_ABANDONED: list[ncnn.Net] = []  # kept until the process ends


class _Registered:
    """One operator in one network. What it made lives until ncnn, which holds no reference, is done."""

    def __init__(self, creator: Callable[[], Any], destroyer: Callable[[Any], None]) -> None:
        self.creator = creator
        self.destroyer = destroyer
        self._alive: list[Any] = []

    def create(self) -> Any:
        layer = self.creator()
        self._alive.append(layer)
        return layer

    def destroy(self, layer: Any) -> None:
        try:
            self.destroyer(layer)
        except Exception:
            # goes to the worker's stderr; ncnn calls this where no exception may be raised
            traceback.print_exc()
        self._alive = [other for other in self._alive if other is not layer]


class _TableFull(RuntimeError):
    """ncnn's binding takes no further registration in this process."""


class CustomNet(ncnn.Net):  # type: ignore[misc]
    """What a setup function gets: a Net that registers what its .param has, each once.

    Older bindings have a table of ten registrations in a process and never take one back. So an
    operator that the network has not got takes no place in it, and a network that was cleared and is
    set up again keeps its places.
    """

    def __init__(self, setup: str, wanted: frozenset[str]) -> None:
        super().__init__()
        self.key = (setup, wanted)
        self.registered: dict[str, _Registered] = {}

    def register_custom_layer(
        self,
        type: str,  # noqa: A002  as the binding calls it
        creator: Callable[[], Any],
        destroyer: Callable[[Any], None] = lambda layer: None,  # noqa: ARG005
    ) -> int:
        if type not in self.key[1]:
            return 0
        if type in self.registered:
            self.registered[type].creator = creator
            self.registered[type].destroyer = destroyer
            return 0
        operator = _Registered(creator, destroyer)
        try:
            rc = int(super().register_custom_layer(type, operator.create, operator.destroy))
        except RuntimeError as error:
            raise _TableFull(str(error)) from None
        self.registered[type] = operator
        return rc


class Registry:
    """Makes the networks of a worker, set up by the project's function where the spec names one."""

    def __init__(self, enter: Callable[[Step], None]) -> None:
        self._enter = enter
        self._cleared: dict[tuple[str, frozenset[str]], list[CustomNet]] = {}

    def net(self, model: Model, graph: Graph) -> ncnn.Net:
        """A network to load; StepFailed holds what the project's function raised."""
        if model.setup is None:
            return ncnn.Net()
        key = (model.setup, frozenset(layer.type for layer in graph.layers))
        cleared = self._cleared.setdefault(key, [])
        net = cleared.pop() if cleared else CustomNet(*key)
        net.opt = ncnn.Option()
        step = Step("setup", model.setup)
        self._enter(step)
        try:
            with blamed(model, step), _importing(model):
                _function(model, step)(net)
        except BaseException:
            self.abandon(net)
            raise
        return net

    def release(self, net: ncnn.Net) -> None:
        """Release `net`, which is no longer needed."""
        if isinstance(net, CustomNet):
            try:
                net.clear()
            except Exception:  # an exception in a layer's destroy_pipeline
                traceback.print_exc()
                self.abandon(net)
            else:
                self._cleared[net.key].append(net)

    def abandon(self, net: ncnn.Net) -> None:
        """Never destroy `net`: one that was loaded in part may crash older ncnn then."""
        _ABANDONED.append(net)


@contextmanager
def blamed(model: Model, step: Step) -> Iterator[None]:
    """What code of the project's own raises in a native step is the project's error, not ours."""
    try:
        yield
    except (StepFailed, Unavailable, MemoryError):
        raise
    except _TableFull as full:
        raise Unavailable(
            f"ncnn {ncnn.__version__} cannot register what {model.setup} wants for one more network "
            f"({full}): update ncnn, or select fewer comparisons"
        ) from None
    except (Exception, SystemExit) as error:
        if model.setup is None:
            raise
        detail = f"{model.setup}: {type(error).__name__}: {error}".rstrip(": ")
        death = Death("raised", detail, step, key=("setup",), lines=_theirs(error, model))
        raise StepFailed(step, death) from None


def _theirs(error: BaseException, model: Model) -> tuple[str, ...]:
    """The lines of the project's files that an error came through."""
    root = Path(model.folders[0]).resolve()
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(root) and not path.is_relative_to(_OURS):
            lines.append(f"{path.relative_to(root)}:{frame.lineno}: in {frame.name}: {frame.line}")
    return tuple(lines)


@contextmanager
def _importing(model: Model) -> Iterator[None]:
    """The project's folders in front of sys.path, for as long as its function is looked for and runs."""
    before = list(sys.path)
    sys.path[:0] = model.folders
    try:
        yield
    finally:
        sys.path[:] = before


def _function(model: Model, step: Step) -> Callable[[ncnn.Net], None]:
    """The function that `setup` names, imported from the project's own files or not at all."""
    assert model.setup is not None
    module_name, _, name = model.setup.partition(":")
    problem = _foreign(module_name, model)
    attribute = None
    if problem is None:
        module = importlib.import_module(module_name)
        attribute = getattr(module, name, None)
        if attribute is None:
            problem = f"{module_name} has no {name!r}{guess(name, vars(module))}"
        elif not callable(attribute):
            problem = f"{name!r} in {module_name} is not a function but {type(attribute).__name__}"
    if attribute is None or problem is not None:
        detail = f"setup: {problem}"
        raise StepFailed(step, Death("raised", detail, step, key=("setup",)))
    function: Callable[[ncnn.Net], None] = attribute
    return function


def _foreign(module: str, model: Model) -> str | None:
    """Why `module` may not be imported, or nothing. Finds its file without running it."""
    root = Path(model.folders[0])
    search: list[str] | None = list(sys.path)
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        module_spec = PathFinder.find_spec(name, search)
        if module_spec is None:
            return f"no module {name!r} in {' or '.join(dict.fromkeys(model.folders))}"
        places = (
            [module_spec.origin]
            if module_spec.has_location
            else list(module_spec.submodule_search_locations or ())
        )
        outside = [p for p in places if p and not Path(p).resolve().is_relative_to(root.resolve())]
        if outside:
            return (
                f"{name} is {outside[0]}, outside the project ({root}); only code of the project is "
                "imported"
            )
        loaded = sys.modules.get(name)
        taken = getattr(loaded, "__file__", None)
        if loaded is not None and taken != (module_spec.origin if module_spec.has_location else None):
            return f"the name {name} is taken by {taken or 'Python'}; call the module something else"
        below = module_spec.submodule_search_locations
        search = None if below is None else list(below)
        if search is None and end < len(parts):
            return f"{name} is a module, not a package: there is no {module}"
    return None
