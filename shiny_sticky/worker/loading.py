"""Loading an app: a Shiny file, Core or Express, or any module's ASGI app."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, cast

from .asgi import ASGIApp

# Characters of a traceback that are shown; it has to fit into a message, in which one may take six bytes.
LONGEST = 100_000

# Frames of these say nothing of the app's own mistake.
HERE = str(Path(__file__).parent)


class LoadError(Exception):
    """The target is there, but is not what it should be."""


class Loaded(NamedTuple):
    """An app that was imported.

    Attributes:
        app: the ASGI app.
        module: that it is of; None for Express, whose file is run anew for each session.
    """

    app: ASGIApp
    module: ModuleType | None


def load(target: str) -> Loaded:
    """Load an app.

    Args:
        target: a Shiny file, Core or Express, with an attribute behind a colon if it is not ``app``; or
            module:attribute.

    Raises:
        LoadError: it is no ASGI app, or the attribute is missing.
        Exception: whatever the app's own code raises.
    """
    place, _, attribute = target.partition(":")
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        module = importlib.import_module(place)
        app = _attribute(module, attribute, target)
    else:
        file = Path(place)
        sys.path.insert(0, str(file.parent))
        if not attribute and _is_express(file):
            from shiny.express import wrap_express_app

            return Loaded(wrap_express_app(file), None)
        module = _module_of(file)
        app = _attribute(module, attribute or "app", target)
    _check_asgi(app, target)
    return Loaded(cast("ASGIApp", app), module)


def on_fork(loaded: Loaded) -> Callable[[], object] | None:
    """The function by which an app makes anew in a fork what it has opened at its import; None if it has none.

    Raises:
        LoadError: it cannot be called so.
    """
    hook = getattr(loaded.module, "on_fork", None)
    if hook is None:
        return None
    if not callable(hook) or inspect.iscoroutinefunction(hook):
        raise LoadError("on_fork is no plain function; what is to be awaited belongs into the app's lifespan.")
    return cast("Callable[[], object]", hook)


def is_shiny(app: ASGIApp) -> bool:
    """Whether a loaded app is Shiny's."""
    shiny = sys.modules.get("shiny")
    return shiny is not None and isinstance(app, shiny.App)


def is_dependency(app: ASGIApp, folder: str) -> bool:
    """Whether Shiny's ``lib/<folder>/`` is that of an HTML dependency, and not of the app's own static files.

    Args:
        app: a Shiny app.
        folder: such as ``bootstrap-5.3.8``.
    """
    known = getattr(app, "_registered_dependencies", None)
    return re.search(r"-[0-9]", folder) is not None if known is None else folder in known


def _is_express(file: Path) -> bool:
    """Whether a file is a Shiny Express app; Shiny, which is large, is only asked about one that has the word."""
    if not file.is_file() or b"express" not in file.read_bytes():
        return False
    try:
        from shiny.express import is_express_app
    except ImportError:  # an ASGI app in an interpreter without shiny
        return False
    return is_express_app(str(file), None)


class _AsItStands(SourceFileLoader):
    """Loads what a file says now.

    Python takes what it has compiled before if the file is as long as then, and was written in the same second: an
    edit that is deployed at once may be such a one.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _module_of(file: Path) -> ModuleType:
    """Import a file under its own name, as `shiny run` does, unless a module of that name is loaded already."""
    name = file.stem if file.stem not in sys.modules else "sticky_" + re.sub(r"\W", "_", file.stem)
    spec = importlib.util.spec_from_file_location(name, file, loader=_AsItStands(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: Any, dotted: str, target: str) -> Any:
    found = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            raise LoadError(f"{target} has no {dotted!r}. A Shiny Core file ends with `app = App(app_ui, server)`.")
        found = getattr(found, name)
    return found


def _check_asgi(app: Any, target: str) -> None:
    """Raise LoadError unless the object can be called as ASGI 3 asks: ``app(scope, receive, send)``."""
    problem = f"{target} is no ASGI app, but "
    if not callable(app):
        raise LoadError(f"{problem}of type {type(app).__name__}.")
    if inspect.isclass(app):
        raise LoadError(f"{problem}a class; name an object of it.")
    if _parameters(app)[:1] == ("input",):
        raise LoadError(f"{problem}Shiny's server function; name the App object that it is given to.")
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        hint = " It looks like WSGI (Flask, Django): wrap it with a2wsgi." if _takes(app, 2) else ""
        raise LoadError(f"{problem}cannot be called with scope, receive, send.{hint}") from None
    except ValueError:  # no signature to be had: written in C
        return


def _parameters(app: Any) -> tuple[str, ...]:
    """The names of what it takes, as far as that can be known."""
    try:
        return tuple(inspect.signature(app).parameters)
    except (TypeError, ValueError):  # written in C
        return ()


def _takes(app: Any, arguments: int) -> bool:
    try:
        inspect.signature(app).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return False
    return True


def readable_traceback(error: BaseException) -> str:
    """The traceback without the frames of this package and of Python's import machinery; of a long one the end."""
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(
        [
            frame
            for frame in shown.stack
            if not frame.filename.startswith(HERE) and "importlib" not in frame.filename
        ]
    )
    return "".join(shown.format())[-LONGEST:]
