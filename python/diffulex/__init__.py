"""Diffusion language models on CPUs.

    with diffulex.Model("SDAR-1.7B-Chat") as model:
        print(model.ask("Why is the sky blue?").text)

`Model` takes and gives text, `Engine` token ids. A thin layer over the C library, which is found by DIFFULEX_LIB, beside this package, or
by the system's loader. Models and engines may be used by any number of threads; a session serves one call at a time. Calls release
Python's global lock.
"""

from __future__ import annotations

from . import _c
from ._engine import Engine, Session
from ._model import Model
from ._types import Answer, DiffulexError, Event, Generation, Info, Token

__all__ = ["Answer", "DiffulexError", "Engine", "Event", "Generation", "Info", "Model", "Session", "Token", "version"]


def version() -> str:
    """The version of the library."""
    return _c.library.diffulex_version().decode()
