#!/usr/bin/env python3
"""Tokens a second and latency of servers with many requests at a time, as a table.

    diffulex-synth sdar-1.7b --dtype int4 -o sdar; diffulex-synth llada2-mini --dtype int4 -o llada2
    tools/server/throughput.py --server target/release/diffulex-server --model sdar:strategy=sdar-static,steps_per_block=2 \\
        --model llada2:steps_per_block=8 --llama venv/bin/python

The weights are random, so the speed is that of the real shapes and the text is noise. How many tokens a pass reveals cannot be measured on them:
it is given (the options after the colon are those of `diffusion`), and the table says what it was. `--llama` is a Python with
llama-cpp-python[server], gguf and numpy; its server gets random Q4_0 weights in the shape of Qwen3-1.7B and decodes token by token. All servers run
one after the other, with the same prompts. Needs nothing but Python for our server.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORDS = "the old miller counted sacks of grain by the river while his daughter wrote every number into a book and the cat slept on".split()


def post(base, body, timeout=600):
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{base}/v1/completions", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def ready(base, path, process):
    for _ in range(1200):
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(base + path, timeout=5):
                return
        except OSError:
            time.sleep(0.25)
    sys.exit("the server is not ready after five minutes")


def prompt(number, words):
    """Words in an order that no other prompt begins with."""
    return f"{number} " + " ".join(WORDS[(number * 7 + i * (1 + number % 5)) % len(WORDS)] for i in range(words))


def round_of(base, count, first, args, more):
    """This many requests at a time: seconds in all, seconds of each, new tokens, forward passes."""
    seconds, answers = [0.0] * count, [None] * count

    def ask(i):
        start = time.perf_counter()
        body = {"prompt": prompt(first + i, args.words), "max_tokens": args.tokens, "temperature": 0, **more}
        answers[i] = post(base, body)["usage"]
        seconds[i] = time.perf_counter() - start

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = time.perf_counter() - start
    if None in answers:
        sys.exit("a request failed")
    new = sum(usage["completion_tokens"] for usage in answers)
    passes = [usage.get("completion_tokens_details", {}).get("forward_passes", usage["completion_tokens"]) for usage in answers]
    return whole, seconds, new, sum(passes)


def measure(name, base, args, more):
    post(base, {"prompt": prompt(999, args.words), "max_tokens": 4, "temperature": 0, **more})
    number, alone = 0, None
    for count in args.requests:
        whole, seconds, new, passes = 0.0, [], 0, 0
        for _ in range(args.rounds):
            own = round_of(base, count, number, args, more)
            number += count
            whole, seconds, new, passes = whole + own[0], seconds + own[1], new + own[2], passes + own[3]
        rate = new / whole
        alone = alone or rate
        p95 = sorted(seconds)[min(len(seconds) - 1, round(0.95 * (len(seconds) - 1)))]
        print(
            f"| {name} | {count} | {rate:.1f} | {rate / alone:.2f} | {statistics.median(seconds):.1f} | {p95:.1f} | {passes / len(seconds):.0f} | {new / passes:.2f} |",
            flush=True,
        )


def options(text):
    """Makes an object of `a=1,b=x`."""
    pairs = (pair.split("=", 1) for pair in text.split(",") if pair)
    return {key: json.loads(value) if value.replace(".", "").isdigit() else value for key, value in pairs}


def ours(args, given):
    path, _, wanted = given.partition(":")
    command = [args.server, "--weights", path, "--port", "0", "--parallel", str(max(args.requests)), "--context", "256"]
    command += ["--threads", str(args.threads), "--max-tokens", str(args.tokens)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next((line.split(" on ")[1].strip() for line in process.stderr if " on http://" in line), None)
            if address is None:
                sys.exit("the server did not start")
            threading.Thread(target=lambda: list(process.stderr), daemon=True).start()
            ready(address, "/health", process)
            measure(Path(path).name, address, args, {"diffusion": options(wanted)})
        finally:
            process.terminate()


def theirs(args):
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory, "qwen3-1.7b-q4_0.gguf")
        subprocess.run([args.llama, HERE.parent / "peer_llama_cpp.py", "sdar-1.7b", "q4_0", "--write", model], check=True)
        command = [args.llama, "-m", "llama_cpp.server", "--model", str(model), "--port", "8399", "--n_ctx", "512"]
        command += ["--n_threads", str(args.threads), "--n_threads_batch", str(args.threads), "--interrupt_requests", "False"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                base = "http://127.0.0.1:8399"
                ready(base, "/v1/models", process)
                measure("llama-cpp-python, Q4_0", base, args, {})
            finally:
                process.terminate()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="diffulex-server")
    parser.add_argument("--model", action="append", default=[], help="DIR:OPTION=VALUE,...; several one after the other")
    parser.add_argument("--llama", help="Python with llama-cpp-python[server]")
    parser.add_argument("--requests", default="1,2,4,8,16", type=lambda text: [int(number) for number in text.split(",")])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of every answer")
    parser.add_argument("--words", type=int, default=1, help="of a prompt, whose time is counted as well")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print("| server | requests | tokens/s | of one | median s | p95 s | passes | tokens a pass |\n|---|---|---|---|---|---|---|---|")
    for given in args.model:
        ours(args, given)
    if args.llama:
        theirs(args)


main()
