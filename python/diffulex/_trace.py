"""`trace`: a generation as data."""

from __future__ import annotations

import time
from typing import Any, Iterable

from ._types import Event, Token


def _revealed(token: Token) -> dict[str, Any]:
    return {"pos": token.position, "token": token.id, "score": token.score}


def trace(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The passes of a generation, in order, as docs/trace.md describes them, without the text of tokens: from `Model.steps`, or from
    `Engine.stream`. `ms` is the time from the start of a pass to its end, with what was drawn from it."""
    passes: list[dict[str, Any]] = []
    since = time.perf_counter()
    for event in events:
        now = time.perf_counter()
        if event.kind == "pass":
            passes.append({"index": event.pass_index, "kind": event.pass_kind, "rows": [event.begin, event.end], "cached": event.cached,
                           "ms": 0.0, "revealed": [], "candidates": []})
            since = now
        elif event.kind == "revealed":
            kept = len(event.tokens) - len(event.replaced)
            known = {token.position for token in event.tokens}
            passes[-1]["ms"] = 1e3 * (now - since)
            passes[-1]["revealed"] += map(_revealed, event.tokens[:kept])
            if event.replaced:
                passes[-1]["edits"] = [{**_revealed(token), "before": before}
                                       for token, before in zip(event.tokens[kept:], event.replaced)]
            passes[-1]["candidates"] += [_revealed(token) for token in event.candidates if token.position not in known]
        elif event.kind == "block":
            passes[-1]["block"] = [event.begin, event.end]
    return passes
