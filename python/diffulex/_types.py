"""What the package hands out: plain values that own their data."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from . import _c


class DiffulexError(Exception):
    """A call that failed. `status` is the name of its status without the prefix, such as "CAPACITY"."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self._code = status
        self.status = _c.library.diffulex_status_name(status).decode().removeprefix("DIFFULEX_")

    def __reduce__(self):  # It is pickled on its way out of another process.
        return type(self), (self._code, str(self))


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
    """Logits for position i are in row i ("own") or i - 1 ("before"); "seeded": in row i, but for the first position of a block,
    which the last row of the causal pass before it predicts."""


@dataclass(frozen=True)
class Token:
    """A masked position and the token for it."""

    position: int
    id: int
    score: float


@dataclass(frozen=True)
class Event:
    """Something that happened during a generation; include/diffulex.h says what each kind uses."""

    kind: str
    """ "pass", "revealed" or "block"."""
    pass_kind: str | None
    """ "prefill", "denoise" or "commit", of a pass."""
    pass_index: int
    begin: int
    end: int
    cached: int
    canvas: tuple[int, ...]
    prompt_len: int
    mask: int
    tokens: tuple[Token, ...]
    candidates: tuple[Token, ...]


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


def array(pointer, length: int) -> tuple:
    """A copy of an array of the library; its pointer may be NULL if it is empty."""
    return tuple(pointer[:length]) if length else ()


def tokens(pointer, length: int) -> tuple[Token, ...]:
    return tuple(Token(token.position, token.id, token.score) for token in array(pointer, length))


def event(of: _c.Event) -> Event:
    kind = _c.EVENT_KINDS[of.kind]
    return Event(
        kind, _c.PASS_KINDS[of.pass_kind] if kind == "pass" else None, of.pass_index, of.begin, of.end, of.cached,
        array(of.canvas, of.canvas_len), of.prompt_len, of.mask,
        tokens(of.tokens, of.tokens_len), tokens(of.candidates, of.candidates_len),
    )


def generation(of: _c.Generation) -> Generation:
    reason = _c.STOP_REASONS[of.stop_reason]
    return Generation(
        array(of.tokens, of.tokens_len), array(of.canvas, of.canvas_len), of.new_tokens, of.nfe, of.prefill_passes,
        of.prefill_seconds, of.decode_seconds, of.cache.decode(), reason, of.stop_id if reason == "token" else None,
    )


def info(of: _c.Info) -> Info:
    return Info(
        *(getattr(of, name).decode() for name in ("family", "policy", "level", "activations", "kv", "weights")),
        of.vocab, of.context, of.threads, of.block, of.layers, of.parameters, of.weight_bytes,
        of.mask if of.mask >= 0 else None, array(of.stop, of.stop_len), _c.ALIGNMENTS[of.alignment],
    )


def text(pointer, length: int) -> str:
    """A copy of a string of the library, which may hold NUL."""
    return ctypes.string_at(pointer, length).decode()


def answer(of: _c.Answer) -> Answer:
    reason = _c.STOP_REASONS[of.stop_reason]
    return Answer(
        text(of.text, of.text_len), of.tokens, of.nfe, of.prefill_passes, of.prefill_seconds, of.decode_seconds, reason,
        of.stop_id if reason == "token" else None,
    )
