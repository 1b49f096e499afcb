"""`Engine` and `Session`: token ids in, token ids out."""

from __future__ import annotations

import ctypes
import os
from array import array
from typing import Callable, Generator, Iterator, Optional, Sequence

from . import _c, _types
from ._base import Change, _call, _Handle, _ids, _number, _path, _policy, _text, tell, watch
from ._types import Event, Generation, Info

OnEvent = Callable[[Event], Optional[bool]]


class Engine(_Handle):
    """A loaded model: a checkpoint directory, a .safetensors file, or an index file. Sessions keep it alive, so it may be closed before
    they are.

    Options, all optional: level, activations, kv, storage, quantize (strings); threads, context, mask, token_limit (numbers); stop (ids).
    include/diffulex.h describes each.
    """

    _free = "diffulex_engine_free"

    def __init__(self, path: str | os.PathLike, **options: object) -> None:
        self._take(self._open("engine_open", _path(path), options))

    @classmethod
    def open(cls, path: str | os.PathLike, **options: object) -> Engine:
        """The same as `Engine(path, ..)`."""
        return cls(path, **options)

    @classmethod
    def from_bytes(cls, config: bytes, weights: bytes, generation_config: bytes = b"", **options: object) -> Engine:
        """Opens a checkpoint from the bytes of config.json and of one safetensors file, which are copied."""
        files = _c.Files(config=config, config_len=len(config), weights=weights, weights_len=len(weights),
                         generation_config=generation_config, generation_config_len=len(generation_config))
        return cls._of(cls._open("engine_open_memory", ctypes.byref(files), options))

    @staticmethod
    def _open(function: str, what: object, options: dict[str, object]) -> ctypes.c_void_p:
        struct = _c.Options()
        for name in ("level", "activations", "kv", "storage", "quantize"):
            setattr(struct, name, _text(options.pop(name, None)))
        for name in ("threads", "context", "token_limit"):
            setattr(struct, name, _number(name, options.pop(name, None) or 0))
        mask, stop = options.pop("mask", None), options.pop("stop", None)
        if mask is not None:
            struct.mask = _ids([mask])
        if stop is not None:
            struct.stop, struct.stop_len = _ids(stop), len(stop)
        if options:
            raise TypeError(f"unknown options: {', '.join(options)}")
        handle = ctypes.c_void_p()
        _call(function, what, ctypes.byref(struct), ctypes.byref(handle))
        return handle

    @property
    def info(self) -> Info:
        """What was opened."""
        struct = _c.Info()
        with self._use() as handle:
            _call("engine_info", handle, ctypes.byref(struct))
            return _types.info(struct)

    def session(self) -> Session:
        """A new session: one sequence, with a cache of its own."""
        session, vocab = ctypes.c_void_p(), self.info.vocab
        with self._use() as handle:
            _call("session_new", handle, ctypes.byref(session))
        of = Session._of(session)
        of._vocab = vocab
        return of

    def generate(self, ids: Sequence[int], max_new: int, **request: object) -> Generation:
        """`Session.generate` with a session for this call."""
        with self.session() as session:
            return session.generate(ids, max_new, **request)

    def stream(self, ids: Sequence[int], max_new: int, **request: object) -> Iterator[Event]:
        """`Session.stream` with a session for this call."""
        with self.session() as session:
            return (yield from session.stream(ids, max_new, **request))


class Session(_Handle):
    """One sequence. Kept for a chat, it does not compute again what the next prompt has in common with the last."""

    _free = "diffulex_session_free"

    _vocab: int

    def __init__(self, *_: object) -> None:
        raise TypeError("a session comes from Engine.session()")

    def generate(self, ids: Sequence[int], max_new: int, policy: str | None = None, on_event: OnEvent | None = None,
                 stop: Sequence[int] | None = None, seed: int = 0, padding: int = 0, **changes: Change) -> Generation:
        """Generates up to `max_new` tokens after `ids`; masks among `ids` are filled in.

        `policy` names a published policy (default: the model's own), and further keywords change it: `temperature=0.7`, `top_k=20`,
        `threshold=0.9`, .. as in docs/decoding.md. `stop` ids end the text (default: the checkpoint's; `[]`: none). `on_event` is told of
        every event; if it returns True the generation ends with what there is, and so it does if it raises, which is raised again. What a
        signal raises, such as KeyboardInterrupt, ends it after the current pass.
        """
        run = self._run(on_event is not None, ids, max_new, policy, stop, seed, padding, changes)
        return tell(run, on_event)

    def stream(self, ids: Sequence[int], max_new: int, policy: str | None = None, stop: Sequence[int] | None = None, seed: int = 0,
               padding: int = 0, **changes: Change) -> Iterator[Event]:
        """The events of `generate`, one by one; the generator's return value is the `Generation`. Closing it ends the generation."""
        return (yield from self._run(True, ids, max_new, policy, stop, seed, padding, changes))

    def _run(self, events: bool, ids: Sequence[int], max_new: int, policy: str | None, stop: Sequence[int] | None, seed: int,
             padding: int, changes: dict[str, Change]) -> Generator[Event, bool | None, Generation]:
        request = _c.Request(prompt=_ids(ids), prompt_len=len(ids), max_new=_number("max_new", max_new), policy=_policy(policy, changes),
                             seed=_number("seed", seed, ctypes.c_uint64), padding=_number("padding", padding))
        if stop is not None:
            request.stop, request.stop_len = _ids(stop), len(stop)

        def call(hear: Callable[..., int]) -> Generation:
            callback, struct = _c.Callback(lambda event, _: hear(_types.event, event.contents)), _c.Generation()
            with self._use() as handle:
                _call("generate", handle, ctypes.byref(request), callback, None, ctypes.byref(struct))
                return _types.generation(struct)

        return (yield from watch(call, events))

    def forward(self, ids: Sequence[int], first: int = 0, visible: str = "rule") -> None:
        """One pass over `ids` at the positions from `first` on, which sees what the model's rule says ("rule") or everything ("all")."""
        if visible not in _c.VISIBLE:
            raise ValueError(f"visible is {visible!r}, 'rule' or 'all' expected")
        with self._use() as handle:
            _call("forward", handle, _ids(ids), len(ids), _number("first", first), _c.VISIBLE[visible])

    def logits(self, rows: Sequence[int]) -> list[array]:
        """Logits of some rows of the latest `forward`, one for each id of the vocabulary."""
        vocab = self._vocab
        out = (ctypes.c_float * (len(rows) * vocab))()
        with self._use() as handle:
            _call("logits", handle, (ctypes.c_size_t * len(rows))(*(_number("row", row) for row in rows)), len(rows), out, len(out))
        return [array("f", out[i * vocab : (i + 1) * vocab]) for i in range(len(rows))]

    def commit(self, rows: int) -> None:
        """Declares the next `rows` staged positions final."""
        with self._use() as handle:
            _call("commit", handle, _number("rows", rows))

    def rewind(self, length: int) -> None:
        """Forgets everything after the first `length` committed positions."""
        with self._use() as handle:
            _call("rewind", handle, _number("length", length))

    @property
    def committed(self) -> int:
        """How many positions are committed."""
        committed = ctypes.c_size_t()
        with self._use() as handle:
            _call("committed", handle, ctypes.byref(committed))
        return committed.value
