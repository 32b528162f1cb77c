"""Writes the API reference, from the docstrings, by pdoc: python docs/reference.py [DIRECTORY], or make docs.

Public names only; what has no docstring is left out. A warning of pdoc's (a name that does not resolve, a reference
to nothing) fails the run.
"""

import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import mechxl


def main() -> None:
    """Writes the reference into the directory that is named, build/docs where none is."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs")
    found = pkgutil.walk_packages(mechxl.__path__, "mechxl.")
    names = [module.name for module in found if not module.name.endswith("__main__")]
    modules = [mechxl, *map(importlib.import_module, names)]
    for module in modules:
        # pdoc looks names of __all__ up without module.__getattr__, and takes __all__ for the submodules' names too.
        if face := getattr(module, "__all__", None):
            vars(module).update({name: getattr(module, name) for name in face})
            inside = (name.rpartition(".") for name in names)
            vars(module)["__all__"] = [*face, *(name for above, _, name in inside if above == module.__name__)]
    pdoc.render.configure(
        docformat="google", include_undocumented=False, show_source=False, footer_text="mechxl, from its docstrings"
    )
    warnings.simplefilter("error")
    pdoc.pdoc("mechxl", "!.*__main__", output_directory=out)
    print(f"{out / 'mechxl.html'}: {len(modules)} modules")


if __name__ == "__main__":
    main()
