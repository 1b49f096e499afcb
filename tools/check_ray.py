#!/usr/bin/env python3
"""Tests diffulex.ray on a local Ray cluster of two workers, with the demo model: answers through two replicas, one of which is killed under load,
and answers to files, interrupted and continued. Run by tools/check-python.sh; needs the installed package and `ray[serve,data]`.

    python tools/check_ray.py DIFFULEX_SERVER

Exit status 75 means that no cluster could be started, 1 that something is wrong.
"""

import json
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow
import pyarrow.parquet
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

import diffulex
from diffulex.ray import answer_files, application

MODEL = str(Path(__file__).resolve().parent.parent / "demo/sdar")
URL = "http://127.0.0.1:8000/v1/chat/completions"
# The exit status where Ray itself does not run.
NO_CLUSTER = 75
QUESTIONS = [f"What is {a} + {b}?" for a in range(10, 40, 3) for b in range(11, 40, 7)]


def ask(question, **more):
    """The answer, and how many retries it took, which the openai package does by itself."""
    body = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 32, **more}).encode()
    for tries in range(60):
        try:
            request = urllib.request.Request(URL, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode(), tries
        except urllib.error.HTTPError as error:
            assert error.code >= 500, f"{error.code}: {error.read()}"
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"no answer to {question!r}")


def text(question):
    answer, tries = ask(question)
    return json.loads(answer)["choices"][0]["message"]["content"], tries


def replicas():
    """The processes of the live replicas."""
    return {actor.pid for actor in list_actors(filters=[("state", "=", "ALIVE")]) if "ServeReplica" in actor.class_name}


def servers(parents):
    """The servers that are children of these processes."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        if "diffulex" in name and int(rest.split()[1]) in parents:
            found.add(int(stat.parent.name))
    return found


def wait_for(what, condition):
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end, f"not within three minutes: {what}"
        time.sleep(0.2)


def check_serve(program):
    serve.run(application("--weights", MODEL, replicas=2, program=program))
    alone = {question: text(question)[0] for question in QUESTIONS}
    assert alone["What is 10 + 11?"].rstrip(".").endswith("21"), alone["What is 10 + 11?"]
    stream = ask(QUESTIONS[0], stream=True)[0]
    assert stream.rstrip().endswith("data: [DONE]") and stream.count("data: ") > 2, stream
    wait_for("two replicas", lambda: len(replicas()) == 2 and len(servers(replicas())) == 2)
    # Both are busy when one is killed, and when the server of the other is.
    for kill in (lambda: replicas().pop(), lambda: servers(replicas()).pop()):
        before, running = replicas(), servers(replicas())
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(text, question) for question in QUESTIONS * 4]
            wait_for("the first answers", lambda: sum(answer.done() for answer in answers) > 10)
            os.kill(kill(), signal.SIGKILL)
            done = [answer.result() for answer in answers]
        assert [answer for answer, _ in done] == [alone[question] for question in QUESTIONS * 4], "an answer is not that of the question alone"
        wait_for("a new replica", lambda: len(replicas()) == 2 and replicas() != before and len(servers(replicas())) == 2)
        wait_for("the end of the server whose replica is gone", lambda: sum(Path(f"/proc/{pid}").exists() for pid in running) == 1)
        print(f"{len(done)} answers, all those that their questions get alone; {sum(tries > 0 for _, tries in done)} were retried after the kill")
    running = servers(replicas())
    serve.shutdown()
    wait_for("the end of all servers", lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))


def check_data(place):
    rows = [{"id": i, "prompt": question} for i, question in enumerate(QUESTIONS)]
    (place / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), place / "in.parquet")
    with diffulex.Model(MODEL, threads=1) as model:
        alone = {i: model.ask(question, max_new=32).text for i, question in enumerate(QUESTIONS)}
    assert alone[0] == "10 + 11 = 21.", alone[0]
    for name in ("in.jsonl", "in.parquet"):
        out = place / f"{name}.out"
        more = {"model": MODEL, "workers": 2, "batch_size": 8, "max_new": 32}
        found = lambda: [json.loads(line) for part in out.glob("*.jsonl") for line in part.read_text().splitlines()]
        assert answer_files(str(place / name), str(out), **more) == len(QUESTIONS)
        assert {row["id"]: row["answer"] for row in found()} == alone and len(found()) == len(alone)
        assert answer_files(str(place / name), str(out), **more) == 0, "all is there"
        # As an interruption leaves it.
        parts = sorted(out.glob("*.jsonl"))
        lost = sum(len(part.read_text().splitlines()) for part in parts[:2])
        for part in parts[:2]:
            part.unlink()
        assert answer_files(str(place / name), str(out), **more) == lost
        assert {row["id"]: row["answer"] for row in found()} == alone and len(found()) == len(alone)
    bad = {
        "twice.jsonl": ([{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}], "several rows have the `id` 1"),
        "null.jsonl": ([{"id": 1, "prompt": "a"}, {"id": None, "prompt": "b"}], "a row has no `id`"),
        "other.jsonl": ([{"id": 1, "text": "a"}], "no column `prompt`, only id, text"),
        "number.jsonl": ([{"id": 1, "prompt": 2}], "2 in the column `prompt`, strings expected"),
        "in.csv": ([], ".parquet expected"),
    }
    for name, (rows, words) in bad.items():
        (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            answer_files(str(place / name), str(place / "none"), model=MODEL)
        except Exception as error:  # Ray's own, with that of the worker in it.
            assert words in str(error), f"{name}: {error}"
        else:
            raise AssertionError(f"{name} is taken")
    print(f"{len(QUESTIONS)} prompts from JSONL and from Parquet, continued after an interruption")


def main():
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
    except Exception as error:  # What Ray needs from a machine is not ours to test.
        print(f"no local cluster starts here: {error}", file=sys.stderr)
        sys.exit(NO_CLUSTER)
    try:
        check_serve(sys.argv[1])
        with tempfile.TemporaryDirectory() as place:
            check_data(Path(place))
    finally:
        ray.shutdown()
        cluster.shutdown()
    print("diffulex.ray passed")


if __name__ == "__main__":
    main()
