"""`async for` over `Steps`: the passes run in a thread, one at a time, while the event loop continues."""

from __future__ import annotations

import asyncio
from typing import Any

_END = object()


class Async:
    """The items of a `Steps`. Cancelling the task that waits for one ends the generation after the current pass."""

    def __init__(self, steps: Any) -> None:
        self._steps = steps

    def __aiter__(self) -> Async:
        return self

    async def __anext__(self) -> Any:
        step = asyncio.get_running_loop().run_in_executor(None, next, self._steps, _END)
        try:
            item = await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step])
            self._steps.close()
            raise
        if item is _END:
            raise StopAsyncIteration
        return item
