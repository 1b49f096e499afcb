"""Finds the extension of a source tree. An installed package has it inside, as `diffulex._native`, and nothing happens here.

For work on the package, `cargo build --release -p diffulex-python` and DIFFULEX_LIB, which names the directory of the build or a
file in it, do without installing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

NAME = "diffulex._native"


def _built() -> Path | None:
    """What cargo built from crates/python."""
    named = os.environ.get("DIFFULEX_LIB")
    if not named:
        return None
    directory = Path(named) if os.path.isdir(named) else Path(named).parent
    names = ("libdiffulex_python.so", "libdiffulex_python.dylib", "diffulex_python.dll")
    return next((directory / name for name in names if (directory / name).exists()), None)


if importlib.util.find_spec(NAME) is None:
    path = _built()
    if path is None:
        raise ImportError("diffulex is not installed (pip install ./python), and DIFFULEX_LIB names no directory with libdiffulex_python, "
                          "which `cargo build --release -p diffulex-python` makes")
    loader = importlib.machinery.ExtensionFileLoader(NAME, str(path))
    spec = importlib.util.spec_from_file_location(NAME, path, loader=loader)
    assert spec is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    loader.exec_module(sys.modules[NAME])
