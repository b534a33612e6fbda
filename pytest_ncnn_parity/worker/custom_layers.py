"""Custom layers: calls the spec's `setup` function with each network before it is loaded."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import ncnn

from pytest_ncnn_parity.base.errors import guess, in_one_line
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable

_OURS = Path(__file__).resolve().parents[2]
_FRAMES = 5  # of a long traceback so many lines remain at its start, and at its end
# ends pybind11's message on a value that Python code returned and C++ cannot take
_NO_SUCH_CAST = " (#define PYBIND11_DETAILED_ERROR_MESSAGES"
_ABANDONED: list[ncnn.Net] = []  # never destroyed before the process ends


class _Registered:
    """One custom operator in one network.

    It keeps the layers that it created alive until ncnn, which holds no reference, destroys them.
    """

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
            # the traceback goes to the worker's stderr: ncnn calls this where nothing may be raised
            traceback.print_exc()
        self._alive = [other for other in self._alive if other is not layer]


class _TableFull(RuntimeError):
    """Raised if ncnn's Python binding takes no further registration in this process."""


class CustomNet(ncnn.Net):  # type: ignore[misc]
    """The Net that a setup function gets; it registers each operator that its .param uses, once.

    Older bindings have room for ten registrations in a process and never free one. Therefore an
    operator that the network does not use is not registered, and a network that was cleared and is set
    up again keeps its registrations.
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
    """Makes a worker's networks, and calls the project's setup function where the spec names one."""

    def __init__(self, enter: Callable[[Step], None]) -> None:
        self._enter = enter
        self._cleared: dict[tuple[str, frozenset[str]], list[CustomNet]] = {}

    def net(self, model: Model, graph: Graph) -> ncnn.Net:
        """Return a network that is ready to be loaded.

        Raises StepFailed, with the error, if the project's function raises or cannot be imported.
        """
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
                _called(_function(model, step), net)
        except BaseException:
            self.abandon(net)
            raise
        return net

    def release(self, net: ncnn.Net) -> None:
        """Release `net`, which is no longer needed, so that its registrations can be used again."""
        if isinstance(net, CustomNet):
            try:
                net.clear()
            except Exception:  # raised by a custom layer's destroy_pipeline
                traceback.print_exc()
                self.abandon(net)
            else:
                self._cleared[net.key].append(net)

    def abandon(self, net: ncnn.Net) -> None:
        """Keep `net` until the process ends: destroying a net loaded in part may crash older ncnn."""
        _ABANDONED.append(net)


@contextmanager
def blamed(model: Model, step: Step) -> Iterator[None]:
    """Turn what the project's own code raises in a native step into StepFailed, with its traceback.

    Raises Unavailable if the binding takes no further registration.
    """
    try:
        yield
    except (StepFailed, Unavailable, MemoryError):
        raise
    except _TableFull as full:
        raise Unavailable(
            f"ncnn {ncnn.__version__} cannot register what {model.setup} wants for one more network "
            f"({full}): update ncnn, or select fewer comparisons"
        ) from None
    # also what sys.exit(), pytest.skip() and pytest.fail() raise, which is not derived from Exception
    except BaseException as error:
        if model.setup is None:
            raise
        detail = f"{model.setup}: {_told(error)}"
        death = Death("raised", detail, step, key=("setup",), lines=_theirs(error, model))
        raise StepFailed(step, death) from None


def _told(error: BaseException) -> str:
    """Return the kind and the text of `error`; where pybind11 wants another type, what it is to be."""
    text, cast, _ = in_one_line(error).partition(_NO_SUCH_CAST)
    if not cast:
        return text
    return (
        f"{text}; a layer's methods return a number, 0 where all is well, and what creates a layer "
        "returns a Layer"
    )


def _theirs(error: BaseException, model: Model) -> tuple[str, ...]:
    """Return the first and last lines in the traceback of `error` that are of the project's files."""
    root = Path(model.folders[0]).resolve()
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(root) and not path.is_relative_to(_OURS):
            lines.append(f"{path.relative_to(root)}:{frame.lineno}: in {frame.name}: {frame.line}")
    if len(lines) > 2 * _FRAMES:  # endless recursion
        lines[_FRAMES:-_FRAMES] = [f"... and {len(lines) - 2 * _FRAMES} more lines ..."]
    return tuple(lines)


@contextmanager
def _importing(model: Model) -> Iterator[None]:
    """Put the project's folders in front of sys.path while its function is imported and runs."""
    before = list(sys.path)
    sys.path[:0] = model.folders
    try:
        yield
    finally:
        sys.path[:] = before


def _function(model: Model, step: Step) -> Callable[[ncnn.Net], None]:
    """Import the function that `setup` names, from the project's own files only.

    Raises StepFailed if it is not found there or is not callable.
    """
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


def _called(function: Callable[[ncnn.Net], object], net: ncnn.Net) -> None:
    """Call the project's function. Raises TypeError if that has run none of its lines."""
    made = function(net)
    if isinstance(made, Generator | Coroutine):
        kind = "'yield'" if isinstance(made, Generator) else "'async'"
        made.close()
        raise TypeError(f"a function with {kind}, of which no line is run; expected a plain one")


def _foreign(module: str, model: Model) -> str | None:
    """Return why `module` may not be imported, or None. Its file is looked up without being run."""
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
