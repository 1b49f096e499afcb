"""`Model`: text in, text out."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping as _Mapping
from typing import Callable, Generator, Iterable, Iterator, Mapping, Optional, Sequence, Union

from . import _c, _types
from ._base import Change, _call, _Handle, _ids, _number, _path, _policy, _text, tell, watch
from ._engine import Engine, Session
from ._types import Answer, Info

Messages = Iterable[Mapping[str, str]]
Question = Union[str, Messages]
OnText = Callable[[str], Optional[bool]]


def _turn(place: int, turn: Mapping[str, str]) -> _c.Message:
    if not isinstance(turn, _Mapping) or not all(isinstance(value, str) for value in turn.values()):
        raise TypeError(f"messages[{place}] is {turn!r}, a mapping of strings expected")
    for key in ("role", "content"):
        if key not in turn:
            raise KeyError(f"messages[{place}] has no {key}")
    if len(turn) > 2:  # Nothing is left out of a prompt in silence.
        raise ValueError(f"messages[{place}] has the keys {sorted(turn)}, only role and content are known")
    return _c.Message(_text(turn["role"]), _text(turn["content"]))


class Model(_Handle):
    """An engine with the tokenizer, the chat template and the defaults of its checkpoint. It decodes as diffulex-run does.

    Options as for `Engine`, all optional.
    """

    _free = "diffulex_model_free"

    def __init__(self, path: str | os.PathLike, **options: object) -> None:
        self._take(Engine._open("model_open", _path(path), options))
        engine = ctypes.c_void_p()
        _call("model_engine", self._handle, ctypes.byref(engine))
        self._engine = Engine._of(engine)

    @classmethod
    def open(cls, path: str | os.PathLike, **options: object) -> Model:
        """The same as `Model(path, ..)`."""
        return cls(path, **options)

    @property
    def engine(self) -> Engine:
        """The engine, for ids, passes and logits."""
        return self._engine

    @property
    def info(self) -> Info:
        """What was opened."""
        return self._engine.info

    def session(self) -> Session:
        """A new session. Kept for a chat, it does not compute again what the next question has in common with the last."""
        return self._engine.session()

    def encode(self, text: str) -> list[int]:
        """Tokenizes a string, nothing added at its ends; `<mask:N>` in it is N masks."""
        data, count = text.encode(), ctypes.c_size_t()
        ids = (ctypes.c_uint32 * (len(data) + 1))()
        with self._use() as handle:
            _call("encode", handle, data, len(data), ids, len(ids), ctypes.byref(count))
            if count.value > len(ids):  # Gaps are longer than what they are written as.
                ids = (ctypes.c_uint32 * count.value)()
                _call("encode", handle, data, len(data), ids, len(ids), ctypes.byref(count))
        return list(ids[: count.value])

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Decodes ids to a string."""
        given, count = _ids(ids), ctypes.c_size_t()
        with self._use() as handle:
            _call("decode", handle, given, len(ids), skip_special, None, 0, ctypes.byref(count))
            text = ctypes.create_string_buffer(count.value + 1)
            _call("decode", handle, given, len(ids), skip_special, text, count.value, ctypes.byref(count))
        return text.raw[: count.value].decode()

    def ask(self, question: Question, *, max_new: int | None = None, policy: str | None = None, on_text: OnText | None = None,
            stop: Sequence[str] = (), seed: int = 0, raw: bool = False, session: Session | None = None,
            schema: Mapping[str, object] | str | None = None, regex: str | None = None, grammar: str | None = None, **changes: Change) -> Answer:
        """Answers a question: a string, or the messages of a conversation (`[{"role": "user", "content": ".."}]`), both through the chat
        template. A string with `<mask:N>` in it has gaps to fill in; `raw` leaves the template out.

        `max_new` limits the new tokens (default: 128, or only what fills the gaps). `policy` and further keywords are those of
        `Session.generate`. `stop` strings end the answer. `on_text` is told of text as it becomes final; if it returns True the answer ends
        there. `session` keeps what was computed for the next question.

        The answer can be bound to a JSON `schema` (a dictionary, or JSON), a regular expression (`regex`), or a `grammar` in Lark's syntax:
        one that ends by itself (`stop_reason` is "token") is valid.
        """
        run = self._run(on_text is not None, question, max_new, policy, stop, seed, raw, session, (schema, regex, grammar), changes)
        return tell(run, on_text)

    def stream(self, question: Question, *, max_new: int | None = None, policy: str | None = None, stop: Sequence[str] = (), seed: int = 0,
               raw: bool = False, session: Session | None = None, schema: Mapping[str, object] | str | None = None,
               regex: str | None = None, grammar: str | None = None, **changes: Change) -> Iterator[str]:
        """The text of `ask`, piece by piece; the generator's return value is the `Answer`. Closing it ends the answer."""
        return (yield from self._run(True, question, max_new, policy, stop, seed, raw, session, (schema, regex, grammar), changes))

    def _run(self, listens: bool, question: Question, max_new: int | None, policy: str | None, stop: Sequence[str], seed: int, raw: bool,
             session: Session | None, bound: tuple[object, str | None, str | None],
             changes: dict[str, Change]) -> Generator[str, bool | None, Answer]:
        if max_new is not None and max_new < 1:
            raise ValueError(f"max_new is {max_new}, at least 1 expected")
        if isinstance(stop, str):
            raise TypeError("stop is a string, a list of strings expected")
        asked = _c.Question(policy=_policy(policy, changes), max_new=_number("max_new", max_new or 0),
                            seed=_number("seed", seed, ctypes.c_uint64), raw=raw)
        schema, regex, grammar = bound
        written = schema if schema is None or isinstance(schema, str) else json.dumps(schema)
        asked.schema, asked.regex, asked.grammar = _text(written), _text(regex), _text(grammar)
        asked.stop, asked.stop_len = (ctypes.c_char_p * (len(stop) + 1))(*(_text(string) for string in stop)), len(stop)
        if isinstance(question, (bytes, _Mapping)):
            raise TypeError(f"question is {question!r}, a string or a list of messages expected")
        if isinstance(question, str):
            asked.text = _text(question)
        else:
            turns = [_turn(place, turn) for place, turn in enumerate(question)]
            asked.messages, asked.messages_len = (_c.Message * (len(turns) + 1))(*turns), len(turns)
        own = session or self.session()

        def call(hear: Callable[..., int]) -> Answer:
            callback = _c.TextCallback(lambda text, length, _: hear(_types.text, text, length))
            struct = _c.Answer()
            with self._use() as model, own._use() as handle:
                _call("ask", model, handle, ctypes.byref(asked), callback, None, ctypes.byref(struct))
                return _types.answer(struct)

        try:
            return (yield from watch(call, listens))
        finally:
            if session is None:
                own.close()
