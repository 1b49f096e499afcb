"""What the classes of the package have in common: calls into C, their arguments, handles, and callbacks that can be interrupted."""

from __future__ import annotations

import ctypes
import operator
import os
import queue
import sys
import threading
from contextlib import contextmanager
from typing import Callable, Generator, Iterator, Sequence, TypeVar, Union

from . import _c
from ._types import DiffulexError

Change = Union[str, int, float, bool]
Report = TypeVar("Report")
Result = TypeVar("Result")
_library = _c.library


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


def _path(path: str | os.PathLike) -> bytes:
    name = os.fsencode(path)
    if b"\0" in name:  # C would stop reading there.
        raise ValueError(f"{name!r} holds a NUL")
    return name


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


def watch(call: Callable[[Callable[..., int]], Result], listens: bool) -> Generator[Report, bool | None, Result]:
    """Runs `call(hear)` in a thread of its own and returns its result. If somebody listens, yields `translate(*arguments)` for each
    `hear(translate, *arguments)`; what is sent back says whether that is enough, which `hear` returns. Python's signals come to the
    main thread, and there only between two instructions of Python: not while it is inside of C."""
    reports: queue.SimpleQueue = queue.SimpleQueue()
    go_on = threading.Semaphore(0)
    over = False

    def hear(translate: Callable[..., Report], *arguments: object) -> int:
        if listens and not over:
            reports.put((True, translate(*arguments)))
            go_on.acquire()  # The next pass begins when the last report was looked at, and not if nobody wants it.
        return int(over)

    def work() -> None:
        try:
            reports.put((False, call(hear)))
        except BaseException as error:
            reports.put((False, error))

    thread = threading.Thread(target=work, name="diffulex-generate", daemon=True)
    thread.start()
    try:
        while True:
            more, report = _wait(reports)
            if not more:
                break
            over = bool((yield report))
            go_on.release()
    finally:
        over = True
        go_on.release()
        thread.join()
    if isinstance(report, BaseException):
        raise report
    return report


def tell(run: Generator[Report, bool | None, Result], listener: Callable[[Report], bool | None] | None) -> Result:
    """Calls `listener` with everything that `run` yields, in this thread, until it returns True."""
    enough: bool | None = None
    try:
        while True:
            try:
                report = run.send(enough)
            except StopIteration as end:
                return end.value
            enough = bool(listener(report))
    finally:
        run.close()
