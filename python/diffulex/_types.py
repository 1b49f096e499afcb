"""What the package returns and raises: plain values that own their data, and one exception for every status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class DiffulexError(Exception):
    """A call that failed; its subclasses say how. Where the library names them, `file`, `key`, `found` and `expected` hold what was
    read, the tensor, key or option in question, what was there, and what should have been. The message has all of it."""

    status = "UNKNOWN"
    """The name of the status in include/diffulex.h, without the prefix."""

    def __init__(self, message: str, file: str | None = None, key: str | None = None, found: str | None = None,
                 expected: str | None = None) -> None:
        super().__init__(message, file, key, found, expected)
        self.file, self.key, self.found, self.expected = file, key, found, expected

    def __str__(self) -> str:
        return str(self.args[0])


class FileError(DiffulexError):
    """The system refused to open, read or map a file."""

    status = "IO"


class FormatError(DiffulexError):
    """A file is malformed, or does not fit the model's configuration."""

    status = "FORMAT"


class UnsupportedError(DiffulexError):
    """The input needs something that the library does not support."""

    status = "UNSUPPORTED"


class OptionError(DiffulexError):
    """An option is unknown or out of range."""

    status = "OPTION"


class CapacityError(DiffulexError):
    """More positions than fit into the context."""

    status = "CAPACITY"


class TokenError(DiffulexError):
    """A token id outside the vocabulary."""

    status = "TOKEN"


class NotFiniteError(DiffulexError):
    """The model computed NaN or infinity; the message says in which layer."""

    status = "NOT_FINITE"


class ArgumentError(DiffulexError):
    """A call out of order, or with something that was closed."""

    status = "ARGUMENT"


class BusyError(DiffulexError):
    """The session is serving another call."""

    status = "BUSY"


class PoisonedError(DiffulexError):
    """An earlier call with this session ended with `PanicError`."""

    status = "POISONED"


class PanicError(DiffulexError):
    """A bug in the library; please report the message."""

    status = "PANIC"


class OutOfMemoryError(DiffulexError):
    """The system does not have that much memory; nothing was computed."""

    status = "MEMORY"


ERRORS = {error.status: error for error in DiffulexError.__subclasses__()}


@dataclass(frozen=True)
class Info:
    """What was opened."""

    family: str
    policy: str
    level: str
    activations: str
    kv: str
    weights: str
    vocab: int
    context: int
    threads: int
    block: int
    """Positions in a block; 0 for a bidirectional model."""
    layers: int
    parameters: int
    weight_bytes: int
    mask: int | None
    stop: tuple[int, ...]
    alignment: str
    """Logits for position i are in row i ("own") or i - 1 ("before"); "seeded": in row i, except for the first position of a block,
    which the last row of the causal pass before it predicts."""
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Token:
    """A position and the token for it."""

    position: int
    id: int
    score: float


@dataclass(frozen=True)
class Event:
    """Something that happened during a generation."""

    kind: str
    """ "pass": a forward pass begins; "revealed": masks became tokens; "block": a block is finished; of `Model.steps` also "end"."""
    pass_kind: str | None
    """ "prefill", "denoise" or "commit", of a pass."""
    pass_index: int
    """Passes before this one, of a pass."""
    begin: int
    """Positions that a pass computes, or of a block: from `begin` to before `end`."""
    end: int
    cached: int
    """Positions whose keys and values come from the cache, of a pass."""
    canvas: tuple[int, ...]
    """The whole sequence, prompt included."""
    prompt_len: int
    mask: int
    tokens: tuple[Token, ...]
    """What was revealed, then tokens that replaced others."""
    candidates: tuple[Token, ...]
    """All that was drawn in the step, including what stays masked."""
    replaced: tuple[int, ...] = ()
    """The ids that the last ones of `tokens` replaced."""
    text: str = ""
    """The text that became final, of `Model.steps`."""


@dataclass(frozen=True)
class Generation:
    """A finished generation."""

    tokens: tuple[int, ...]
    canvas: tuple[int, ...]
    new_tokens: int
    nfe: int
    prefill_passes: int
    prefill_seconds: float
    decode_seconds: float
    cache: str
    stop_reason: str
    """ "length", "token" or "cancelled"."""
    stop_id: int | None


@dataclass(frozen=True)
class Answer:
    """A finished answer."""

    text: str
    """All of it; with the prompt around it if gaps were filled in."""
    tokens: int
    """New ones, up to the end of the text, after every stop."""
    nfe: int
    prefill_passes: int
    prefill_seconds: float
    decode_seconds: float
    stop_reason: str
    """ "length", "token", "string" or "cancelled"."""
    stop_id: int | None
    prompt_tokens: int
    canvas: tuple[int, ...]
    """The ids of the prompt and of what was generated."""
    cache: str


@dataclass(frozen=True)
class Verdict:
    """The answer to a question of `Model.decide`."""

    answer: Any
    """The most probable one: a string, True or False, or a whole number."""
    probability: float
    probabilities: dict[str, float]
    """The probability of every answer, given that one of them is said."""
    mass: float
    """How probable it is that the model says any of them."""
    mean: float | None
    """The mean of the scores, weighted by their probabilities."""
