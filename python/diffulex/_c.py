"""The C library: where it is, its structs and functions. Everything here repeats include/diffulex.h, which documents it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

ABI_VERSION = 0
OK, ARGUMENT = 0, 8
EVENT_KINDS = ("pass", "revealed", "block")
PASS_KINDS = ("prefill", "denoise", "commit")
STOP_REASONS = ("length", "token", "cancelled", "string")
ALIGNMENTS = ("own", "before", "seeded")
VISIBLE = {"rule": 0, "all": 1}

ids_p = POINTER(c_uint32)


class Versioned(ctypes.Structure):
    """A struct that begins with its size; everything else begins as 0."""

    def __init__(self, **members: object) -> None:
        super().__init__(ctypes.sizeof(self), **members)


class Error(ctypes.Structure):
    _fields_ = [("status", c_int32), ("message", ctypes.c_char * 1020)]


class Options(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("level", c_char_p), ("activations", c_char_p), ("kv", c_char_p), ("storage", c_char_p),
        ("quantize", c_char_p), ("threads", c_size_t), ("context", c_size_t), ("mask", ids_p), ("stop", ids_p),
        ("stop_len", c_size_t), ("token_limit", c_size_t),
    ]


class Files(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("config", c_char_p), ("config_len", c_size_t), ("generation_config", c_char_p),
        ("generation_config_len", c_size_t), ("weights", c_char_p), ("weights_len", c_size_t), ("borrow", c_int32),
    ]


class Info(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("family", c_char_p), ("policy", c_char_p), ("level", c_char_p), ("activations", c_char_p),
        ("kv", c_char_p), ("weights", c_char_p), ("vocab", c_size_t), ("context", c_size_t), ("threads", c_size_t),
        ("block", c_size_t), ("layers", c_size_t), ("parameters", c_size_t), ("weight_bytes", c_size_t), ("mask", c_int64),
        ("stop", ids_p), ("stop_len", c_size_t), ("alignment", c_int32),
    ]


class Request(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("prompt", ids_p), ("prompt_len", c_size_t), ("max_new", c_size_t), ("policy", c_char_p),
        ("stop", ids_p), ("stop_len", c_size_t), ("seed", c_uint64), ("padding", c_size_t),
    ]


class Token(ctypes.Structure):
    _fields_ = [("position", c_size_t), ("score", c_double), ("id", c_uint32)]


class Event(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("kind", c_int32), ("pass_kind", c_int32), ("pass_index", c_size_t), ("begin", c_size_t),
        ("end", c_size_t), ("cached", c_size_t), ("canvas", ids_p), ("canvas_len", c_size_t), ("prompt_len", c_size_t),
        ("tokens", POINTER(Token)), ("tokens_len", c_size_t), ("candidates", POINTER(Token)), ("candidates_len", c_size_t),
        ("mask", c_uint32),
    ]


class Generation(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("tokens", ids_p), ("tokens_len", c_size_t), ("canvas", ids_p), ("canvas_len", c_size_t),
        ("new_tokens", c_size_t), ("nfe", c_size_t), ("prefill_passes", c_size_t), ("prefill_seconds", c_double),
        ("decode_seconds", c_double), ("cache", c_char_p), ("stop_reason", c_int32), ("stop_id", c_uint32),
    ]


class Message(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class Question(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("text", c_char_p), ("messages", POINTER(Message)), ("messages_len", c_size_t), ("policy", c_char_p),
        ("stop", POINTER(c_char_p)), ("stop_len", c_size_t), ("max_new", c_size_t), ("seed", c_uint64), ("raw", c_int32),
        ("schema", c_char_p), ("regex", c_char_p), ("grammar", c_char_p),
    ]


class Answer(Versioned):
    _fields_ = [
        ("struct_size", c_size_t), ("text", c_void_p), ("text_len", c_size_t), ("tokens", c_size_t), ("nfe", c_size_t),
        ("prefill_passes", c_size_t), ("prefill_seconds", c_double), ("decode_seconds", c_double), ("stop_reason", c_int32),
        ("stop_id", c_uint32),
    ]


TextCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_size_t, c_void_p)
Callback = ctypes.CFUNCTYPE(c_int, POINTER(Event), c_void_p)
error_p = POINTER(Error)

# Name: result, arguments.
FUNCTIONS = {
    "version": (c_char_p, []),
    "abi_version": (c_uint32, []),
    "status_name": (c_char_p, [c_int32]),
    "engine_open": (c_int32, [c_char_p, POINTER(Options), POINTER(c_void_p), error_p]),
    "engine_open_memory": (c_int32, [POINTER(Files), POINTER(Options), POINTER(c_void_p), error_p]),
    "engine_free": (None, [c_void_p]),
    "engine_info": (c_int32, [c_void_p, POINTER(Info), error_p]),
    "session_new": (c_int32, [c_void_p, POINTER(c_void_p), error_p]),
    "session_free": (None, [c_void_p]),
    "generate": (c_int32, [c_void_p, POINTER(Request), Callback, c_void_p, POINTER(Generation), error_p]),
    "model_open": (c_int32, [c_char_p, POINTER(Options), POINTER(c_void_p), error_p]),
    "model_free": (None, [c_void_p]),
    "model_engine": (c_int32, [c_void_p, POINTER(c_void_p), error_p]),
    "encode": (c_int32, [c_void_p, c_char_p, c_size_t, ids_p, c_size_t, POINTER(c_size_t), error_p]),
    "decode": (c_int32, [c_void_p, ids_p, c_size_t, c_int32, c_char_p, c_size_t, POINTER(c_size_t), error_p]),
    "ask": (c_int32, [c_void_p, c_void_p, POINTER(Question), TextCallback, c_void_p, POINTER(Answer), error_p]),
    "forward": (c_int32, [c_void_p, ids_p, c_size_t, c_size_t, c_int32, error_p]),
    "logits": (c_int32, [c_void_p, POINTER(c_size_t), c_size_t, POINTER(c_float), c_size_t, error_p]),
    "commit": (c_int32, [c_void_p, c_size_t, error_p]),
    "rewind": (c_int32, [c_void_p, c_size_t, error_p]),
    "committed": (c_int32, [c_void_p, POINTER(c_size_t), error_p]),
}


def find() -> str:
    """Path or name of the library: DIFFULEX_LIB, beside the package, or wherever the system's loader finds it."""
    named = os.environ.get("DIFFULEX_LIB")
    if named:
        return named
    names = {
        "darwin": ("libdiffulex.dylib", f"libdiffulex.{ABI_VERSION}.dylib"),
        "win32": ("diffulex.dll",),
    }.get(sys.platform, ("libdiffulex.so", f"libdiffulex.so.{ABI_VERSION}"))
    beside = [path for path in (Path(__file__).parent / name for name in names) if path.is_file()]
    return str(beside[0]) if beside else ctypes.util.find_library("diffulex") or names[-1]


def load() -> ctypes.CDLL:
    """Opens the library and declares its functions."""
    name = find()
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(f"{error}\ntools/install-capi.sh builds the library; DIFFULEX_LIB names it") from error
    for function, (result, arguments) in FUNCTIONS.items():
        entry = getattr(library, f"diffulex_{function}")
        entry.restype, entry.argtypes = result, arguments
    found = library.diffulex_abi_version()
    if found != ABI_VERSION:
        raise ImportError(f"{name} has ABI version {found}, this package needs {ABI_VERSION}")
    return library


library = load()
