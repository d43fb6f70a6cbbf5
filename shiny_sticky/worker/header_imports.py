"""What a file imports before it does anything else, found without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class HeaderImport(NamedTuple):
    """One import statement of a file.

    Attributes:
        module: its name.
        names: what is imported from it, modules perhaps; empty for all of it.
    """

    module: str
    names: tuple[str, ...] = ()

    def run(self) -> None:
        """Import it as the statement does.

        Raises:
            Exception: whatever the module's code raises.
        """
        __import__(self.module, fromlist=self.names)


def header_imports(file: Path, folder: Path) -> list[HeaderImport]:
    """What a file imports of packages, and what files beside it do that it imports; each in order, and once.

    Where anything else is done, the header has ended: what is imported then may be meant to come after that.

    Args:
        file: the app's.
        folder: where its own modules are.
    """
    found: dict[HeaderImport, None] = {}
    seen: set[Path] = set()

    def collect(file: Path) -> None:
        seen.add(file)
        for each in _statements(file):
            own = _own_file(each.module, folder)
            if own is None:
                found[each] = None
            elif own not in seen:
                collect(own)

    collect(file)
    return list(found)


def _statements(file: Path) -> Iterator[HeaderImport]:
    """The import statements at the beginning of a file; nothing if it is no Python."""
    with suppress(OSError, SyntaxError, ValueError, RecursionError):
        for statement in ast.parse(file.read_bytes()).body:
            if isinstance(statement, ast.Import):
                yield from (HeaderImport(alias.name) for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom):
                if statement.module and not statement.level and statement.module != "__future__":
                    yield HeaderImport(statement.module, tuple(alias.name for alias in statement.names))
            elif not _is_docstring(statement):
                return


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _own_file(module: str, folder: Path) -> Path | None:
    """The file of a module in the app's own folder; None if it is of a package.

    A folder there is the app's as well, and what is in it stays for the app to import.
    """
    place = folder.joinpath(*module.split("."))
    for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if file.is_file():
            return file
    return folder if (folder / module.partition(".")[0]).is_dir() else None
