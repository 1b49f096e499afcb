"""Diffulex on a Ray cluster (`pip install "ray[serve,data]"`): a deployment for Ray Serve, and answers to files of prompts by Ray Data.

    serve.run(application("--weights", "/models/SDAR-1.7B-Chat", replicas=4, cpus=8))
    answer_files("/data/prompts.jsonl", "/data/answers", model="/models/SDAR-1.7B-Chat", workers=4, cpus=8, max_new=256)

The weights have to be on every node, under the same path, as has the program `diffulex-server` for a deployment.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, AsyncIterator, Iterable, Mapping

import aiohttp
import numpy as np
import ray
import ray.data
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ._native import Model

# For one connection, not for what goes through it.
_HOP = {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding", "upgrade"}


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Server:
    """A replica: it has a `diffulex-server` of its own, passes every request on to it, and ends if that ends, so that Ray starts another."""

    def __init__(self, program: str, arguments: list[str]) -> None:
        command = [program, *arguments, "--host", "127.0.0.1", "--port", "0"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                         preexec_fn=_end_with_parent)
        assert self._process.stderr is not None
        said: list[str] = []
        for line in self._process.stderr:
            said.append(line)
            if "on http://" in line:
                break
        else:
            raise RuntimeError(f"{program} has ended: {''.join(said[-5:]).strip()}")
        self._url = "http://" + said[-1].split("on http://")[1].strip()
        self._ending = self._is_ready = False
        self._session: aiohttp.ClientSession | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """A full pipe would stop the server. When the server has ended there is nothing left to do here."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            sys.stderr.write(line)
        if not self._ending:
            os._exit(1)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Answers may take any time; the server has a limit (`--timeout`).
            self._session = aiohttp.ClientSession(self._url, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    async def check_health(self) -> None:
        """Called by Ray Serve. A model that is still being loaded is healthy."""
        async with self._client().get("/health") as answer:
            if answer.status not in (200, 503):
                raise RuntimeError(f"/health answers {answer.status}")

    async def ready(self) -> None:
        """Waits until the model is loaded."""
        while not self._is_ready:
            async with self._client().get("/health") as answer:
                self._is_ready = answer.status == 200
            if not self._is_ready:
                await asyncio.sleep(0.1)

    async def __call__(self, request: Request) -> Response:
        await self.ready()
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP]
        path = request.scope["path"].removeprefix(request.scope.get("root_path", "")) or "/"
        query = request.url.query
        try:
            answer = await self._client().request(request.method, f"{path}?{query}" if query else path, headers=headers,
                                                  data=await request.body())
        except aiohttp.ClientConnectionError as error:
            problem = {"message": f"the replica is ending: {error}", "type": "server_error", "param": None, "code": "unavailable"}
            return JSONResponse({"error": problem}, 503, {"retry-after": "1"})

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.content.iter_any():
                    yield piece
            finally:
                # If the client is gone, the server is told.
                answer.close()

        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return StreamingResponse(pieces(), answer.status, kept)

    def __del__(self) -> None:
        self._ending = True
        if process := getattr(self, "_process", None):
            process.terminate()
            process.wait()


def application(*arguments: str, replicas: int = 1, cpus: int = 1, resources: Mapping[str, float] | None = None, parallel: int = 8,
                program: str = "diffulex-server", **options: Any) -> serve.Application:
    """An application for `serve.run`, which answers what `diffulex-server` answers (docs/server.md). `arguments` are options of the server,
    `replicas` how many there are, each with `cpus` and `resources` of its node, and `parallel` how many requests one computes in a pass; as many again
    wait at it. Further `options` are those of `serve.deployment`, such as `autoscaling_config`, which replaces `replicas`."""
    command = [*arguments, "--threads", str(cpus), "--parallel", str(parallel)]
    if "autoscaling_config" not in options:
        options["num_replicas"] = replicas
    settings = {"name": "diffulex", "max_ongoing_requests": 2 * parallel, "health_check_period_s": 5, "health_check_timeout_s": 10, **options}
    actor = {"num_cpus": cpus, "resources": dict(resources or {})}
    return serve.deployment(ray_actor_options=actor, **settings)(Server).bind(program, command)


class Answers:
    """A batch function for `Dataset.map_batches`: answers the prompts of `column`, as `Model.generate_many` does with `options`, and adds the columns
    `answer` and `stop_reason`. A prompt is what a user says, or with `raw` text to continue. `opened` are options of `Model.open`."""

    def __init__(self, model: str, column: str = "prompt", raw: bool = False, opened: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.model, self.column, self.raw, self.options = Model.open(model, **(opened or {})), column, raw, options

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        prompts = batch[self.column].tolist()
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise ValueError(f"{prompt!r} in the column `{self.column}`, strings expected")
        asked = prompts if self.raw else [[{"role": "user", "content": prompt}] for prompt in prompts]
        answers = self.model.generate_many(asked, **self.options)
        made = {"answer": [answer.text for answer in answers], "stop_reason": [answer.stop_reason for answer in answers]}
        return {**batch, **{name: np.array(values, dtype=object) for name, values in made.items()}}


class _Parts(Answers):
    """Writes the answers of a batch into a file of their own, which appears whole or not at all, and returns their number."""

    def __init__(self, output: str, key: str, model: str, **options: Any) -> None:
        super().__init__(model, **options)
        self.output, self.key = Path(output), key

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answered = super().__call__(batch)
        columns = {name: values.tolist() for name, values in answered.items()}
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        # The same rows give the same name: what is computed again after a failure replaces what was there.
        name = hashlib.sha256(json.dumps(columns[self.key]).encode()).hexdigest()[:32]
        part = self.output / f"{name}.{os.getpid()}.tmp"
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        part.replace(self.output / f"{name}.jsonl")
        return {"rows": np.array([len(rows)])}


def _keys(output: Path, key: str) -> set[Any]:
    lines = (line for part in output.glob("*.jsonl") for line in part.read_text(encoding="utf-8").splitlines())
    return {json.loads(line)[key] for line in lines}


def _check(rows: ray.data.Dataset, paths: list[str], key: str, column: str) -> set[Any]:
    """The keys. Refuses rows that could not be told apart when the work is resumed."""
    there = rows.schema().names
    for name in (key, column):
        if name not in there:
            raise ValueError(f"{', '.join(paths)}: no column `{name}`, only {', '.join(there)}")
    seen: set[Any] = set()
    for row in rows.select_columns([key]).iter_rows():
        if row[key] is None or row[key] in seen:
            raise ValueError(f"{', '.join(paths)}: several rows have the `{key}` {row[key]!r}" if row[key] is not None else
                             f"{', '.join(paths)}: a row has no `{key}`")
        seen.add(row[key])
    return seen


def answer_files(inputs: str | Iterable[str], output: str, *, model: str, key: str = "id", column: str = "prompt", workers: int = 1, cpus: int = 1,
                 batch_size: int = 64, opened: Mapping[str, Any] | None = None, **options: Any) -> int:
    """Answers the prompts in `column` of JSONL or Parquet files, and returns how many. `output` is a directory that all nodes share: every batch
    becomes a JSONL file there, with the columns of its rows, `answer` and `stop_reason`. A second call resumes where the first one ended: rows whose
    `key` is there are left out. `workers` have a model each, with `cpus` threads. `options` are those of `Answers`."""
    paths = [inputs] if isinstance(inputs, str) else list(inputs)
    kinds = {Path(path).suffix for path in paths}
    if not kinds <= {".jsonl", ".parquet"} or len(kinds) != 1:
        raise ValueError(f"files that end in {sorted(kinds)}, .jsonl or .parquet expected, all alike")
    rows = ray.data.read_parquet(paths) if kinds == {".parquet"} else ray.data.read_json(paths, file_extensions=["jsonl"])
    keys = _check(rows, paths, key, column)
    directory = Path(output)
    directory.mkdir(parents=True, exist_ok=True)
    done = _keys(directory, key)
    if keys <= done:
        return 0
    arguments = {"output": str(directory.resolve()), "key": key, "model": model, "column": column, "opened": {"threads": cpus, **(opened or {})}, **options}
    written = rows.filter(lambda row: row[key] not in done).map_batches(
        _Parts, fn_constructor_kwargs=arguments, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=cpus, batch_size=batch_size)
    return sum(int(row["rows"]) for row in written.iter_rows())
