"""Diffusion language models on CPUs: token ids in, token ids out.

    with diffulex.Engine("SDAR-1.7B-Chat") as engine:
        print(engine.generate([151644, 872, 198], max_new=64, temperature=0).tokens)

A thin layer over the C library, which is found by DIFFULEX_LIB, beside this package, or by the system's loader. Engines may be used by
any number of threads; a session serves one call at a time. Calls release Python's global lock.
"""

from __future__ import annotations

import ctypes
import operator
import os
import queue
import sys
import threading
from array import array
from contextlib import contextmanager
from typing import Callable, Generator, Iterator, Optional, Sequence, Union

from . import _c, _types
from ._types import DiffulexError, Event, Generation, Info, Token

__all__ = ["DiffulexError", "Engine", "Event", "Generation", "Info", "Session", "Token", "version"]

OnEvent = Callable[[Event], Optional[bool]]
Change = Union[str, int, float, bool]
_library = _c.library


def version() -> str:
    """The version of the library."""
    return _library.diffulex_version().decode()


def _call(function: str, *arguments: object) -> None:
    error = _c.Error()
    status = getattr(_library, f"diffulex_{function}")(*arguments, ctypes.byref(error))
    if status != _c.OK:
        raise DiffulexError(status, error.message.decode())


def _ids(ids: Sequence[int]) -> ctypes.Array:
    wrong = next((id for id in ids if not 0 <= id < 2**32), None)
    if wrong is not None:  # C would take it modulo 2^32.
        raise ValueError(f"token id {wrong} given, 0 to {2**32 - 1} expected")
    # One element more than is used, because a pointer to an empty array has to be one, too.
    return (ctypes.c_uint32 * (len(ids) + 1))(*ids)


def _number(name: str, value: object, type: type = ctypes.c_size_t) -> int:
    """A whole number that fits its type in C, which would take it modulo a power of two."""
    number, most = operator.index(value), 2 ** (8 * ctypes.sizeof(type)) - 1
    if not 0 <= number <= most:
        raise ValueError(f"{name} is {number}, 0 to {most} expected")
    return number


def _text(value: object) -> bytes | None:
    if value is None:
        return None
    text = os.fspath(value)
    if "\0" in text:  # C would stop reading there.
        raise ValueError(f"{text!r} holds a NUL")
    return text.encode()


def _wait(reports: queue.SimpleQueue) -> object:
    if sys.platform != "win32":
        return reports.get()
    while True:  # There a wait without an end hears no signal.
        try:
            return reports.get(timeout=0.1)
        except queue.Empty:
            pass


def _policy(name: str | None, changes: dict[str, Change]) -> bytes | None:
    written = {key.replace("_", "-"): str(value).lower() if isinstance(value, bool) else value for key, value in changes.items()}
    return _text(" ".join([name or "", *(f"{key}={value}" for key, value in written.items())]))


class _Handle:
    """Something of the library's that is freed once: by `close`, at the end of a `with`, or with the object. One that is closed while a
    call is under way is freed when that ends."""

    _free: str

    @classmethod
    def _of(cls, handle: ctypes.c_void_p):
        """The object of a handle that the library has just given out."""
        of = cls.__new__(cls)
        of._take(handle)
        return of

    def _take(self, handle: ctypes.c_void_p) -> None:
        self._handle, self._lock, self._calls, self._closed = handle, threading.Lock(), 0, False

    def __reduce__(self):  # A copy would free the same thing again.
        raise TypeError(f"a {type(self).__name__.lower()} can be neither copied nor pickled")

    @contextmanager
    def _use(self) -> Iterator[ctypes.c_void_p]:
        with self._lock:
            if self._closed:
                raise DiffulexError(_c.ARGUMENT, f"the {type(self).__name__.lower()} is closed")
            self._calls += 1
        try:
            yield self._handle
        finally:
            with self._lock:
                self._calls -= 1
                self._free_if_done()

    def _free_if_done(self) -> None:
        if self._closed and self._calls == 0 and self._handle:
            getattr(_library, self._free)(self._handle)
            self._handle = None

    def close(self) -> None:
        """Frees what the library holds. Closing twice is fine."""
        with self._lock:
            self._closed = True
            self._free_if_done()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):  # Opening it may have failed.
            self.close()


class Engine(_Handle):
    """A loaded model: a checkpoint directory, a .safetensors file, or an index file. Sessions keep it alive, so it may be closed before
    they are.

    Options, all optional: level, activations, kv, storage, quantize (strings); threads, context, mask, token_limit (numbers); stop (ids).
    include/diffulex.h describes each.
    """

    _free = "diffulex_engine_free"

    def __init__(self, path: str | os.PathLike, **options: object) -> None:
        name = os.fsencode(path)
        if b"\0" in name:  # C would stop reading there.
            raise ValueError(f"{name!r} holds a NUL")
        self._take(self._open("engine_open", name, options))

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
        run = self._run(events=on_event is not None, ids=ids, max_new=max_new, policy=policy, stop=stop, seed=seed, padding=padding,
                        changes=changes)
        enough: bool | None = None
        try:
            while True:
                try:
                    event = run.send(enough)
                except StopIteration as end:
                    return end.value
                enough = bool(on_event(event))
        finally:
            run.close()

    def stream(self, ids: Sequence[int], max_new: int, policy: str | None = None, stop: Sequence[int] | None = None, seed: int = 0,
               padding: int = 0, **changes: Change) -> Iterator[Event]:
        """The events of `generate`, one by one; the generator's return value is the `Generation`. Closing it ends the generation."""
        return (yield from self._run(True, ids, max_new, policy, stop, seed, padding, changes))

    def _run(self, events: bool, ids: Sequence[int], max_new: int, policy: str | None, stop: Sequence[int] | None, seed: int,
             padding: int, changes: dict[str, Change]) -> Generator[Event, bool | None, Generation]:
        """Runs the call in a thread of its own and yields its events; what is sent back says whether they are enough. Python's signals
        come to the main thread, and there only between two instructions of Python: not while it is inside of C."""
        request = _c.Request(prompt=_ids(ids), prompt_len=len(ids), max_new=_number("max_new", max_new), policy=_policy(policy, changes),
                             seed=_number("seed", seed, ctypes.c_uint64), padding=_number("padding", padding))
        if stop is not None:
            request.stop, request.stop_len = _ids(stop), len(stop)
        reports: queue.SimpleQueue = queue.SimpleQueue()
        go_on = threading.Semaphore(0)
        over = False

        def hear(event, _user_data) -> int:
            if events and not over:
                reports.put(_types.event(event.contents))
                go_on.acquire()  # The next pass begins when the last event was looked at, and not if nobody wants it.
            return int(over)

        callback = _c.Callback(hear)

        def work() -> None:
            struct = _c.Generation()
            try:
                with self._use() as handle:
                    _call("generate", handle, ctypes.byref(request), callback, None, ctypes.byref(struct))
                    reports.put(_types.generation(struct))
            except BaseException as error:
                reports.put(error)

        thread = threading.Thread(target=work, name="diffulex-generate", daemon=True)
        thread.start()
        try:
            while isinstance(report := _wait(reports), Event):
                over = bool((yield report))
                go_on.release()
        finally:
            over = True
            go_on.release()
            thread.join()
        if isinstance(report, BaseException):
            raise report
        return report

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
