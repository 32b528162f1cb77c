"""Which files a question's answer depends on: its own, and those that they import, read as text.

Imports inside functions count, but for those in `figures` and `overview`: they draw what is found. Imports under
TYPE_CHECKING are never carried out and do not count. Outside mechxl only the question's own package is followed, or,
for a single file, the files beside it.
"""

import ast
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

MECHXL = Path(__file__).parents[1]
DRAWING = ("figures", "overview")


def files_behind(source: Path, name: str, mechxl: Path = MECHXL) -> list[Path]:
    """A question's file and all files that it imports, directly or not, in alphabetical order.

    Args:
        source: the file of the question's module, a package's __init__.py.
        name: the module's dotted name.
        mechxl: the folder of the package mechxl.
    """
    is_package = source.name == "__init__.py"
    folder = source.parents[name.count(".") + is_package]  # that the dotted name starts from
    top = name.split(".")[0]

    def file_of(module: str) -> Path | None:
        first = module.split(".")[0]
        if first == "mechxl":
            return _module_file(mechxl.parent, module)
        if first == top:
            return _module_file(folder, module)
        single_file = "." not in name and not is_package
        return _module_file(folder, module) if single_file and (folder / f"{first}.py").is_file() else None

    files = {source}
    waiting = [(source, name if is_package else name.rpartition(".")[0])]
    while waiting:
        file, package = waiting.pop()
        for module, names in _imports(file, file.stat().st_mtime_ns, package):
            for imported in _modules(module, names, file_of):
                path = file_of(imported)
                if path and path not in files:
                    files.add(path)
                    waiting.append((path, imported if path.name == "__init__.py" else imported.rpartition(".")[0]))
    return sorted(files)


def _modules(module: str, names: tuple[str, ...], file_of: Callable[[str], Path | None]) -> Iterator[str]:
    """The modules that an import statement names: a package's own file only where a name is taken from it."""
    submodules = [name for name in names if file_of(f"{module}.{name}")]
    yield from (f"{module}.{name}" for name in submodules)
    if len(submodules) < len(names) or not names:
        yield module


def _module_file(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split("."))
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@lru_cache(maxsize=1000)
def _imports(file: Path, changed: int, package: str) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names taken from it) of each import statement; `changed` is the file's time, for the cache."""
    found = []
    for node in _statements(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.append((module, tuple(alias.name for alias in node.names)))
    return found


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that count."""
    if isinstance(node, ast.FunctionDef) and node.name in DRAWING:
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children: list[ast.AST] = [*node.orelse]
    else:
        children = list(ast.iter_child_nodes(node))
    yield node
    for child in children:
        yield from _statements(child)
