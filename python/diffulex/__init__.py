"""Diffusion language models on CPUs.

    with diffulex.Model("SDAR-1.7B-Chat") as model:
        print(model.ask("Why is the sky blue?").text)

`Model` takes and returns text, `Engine` token ids. Both may be used by any number of threads; a session serves one call at a time. Passes
run without Python's global lock, and signals are handled between two of them.
"""

from __future__ import annotations

from . import _load  # noqa: F401 (it finds the extension)
from ._native import Engine, Model, Session, Steps, version
from ._trace import trace
from ._types import (
    Answer,
    ArgumentError,
    BusyError,
    CapacityError,
    DiffulexError,
    Event,
    FileError,
    FormatError,
    Generation,
    Info,
    NotFiniteError,
    OptionError,
    OutOfMemoryError,
    PanicError,
    PoisonedError,
    Token,
    TokenError,
    UnsupportedError,
    Verdict,
)

__all__ = [
    "Answer", "ArgumentError", "BusyError", "CapacityError", "DiffulexError", "Engine", "Event", "FileError", "FormatError", "Generation",
    "Info", "Model", "NotFiniteError", "OptionError", "OutOfMemoryError", "PanicError", "PoisonedError", "Session", "Steps", "Token",
    "TokenError", "UnsupportedError", "Verdict", "trace", "version",
]
