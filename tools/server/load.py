"""Many connections and hostile clients against the server with the demo model.

    python3 tools/server/load.py target/release/diffulex-server --seconds 300 --connections 200

Starts the server, asks every question of a mixed list alone, then all of them on many connections at a time, while others disconnect
at random points, read slowly, send half a request, 10 MB bodies, deep JSON, invalid UTF-8, floods of headers and odd paths. Requires
that every answer is the one that its question gets alone, that requests are refused only with 429, that memory does not grow, that nonsense
is answered with the right status or not at all, and that the server exits with 0 when it is told to end. Only Python is needed.
"""

import argparse
import http.client
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

STORY = "Tell a story about Mia the fox and a red kite at the river."
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}


def chat(text, **more):
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more}


def questions():
    """What is asked: of different lengths, through different APIs, streamed and not, drawn and greedy, constrained and free."""
    color = {"color": {"options": ["red", "blue", "green"], "lead": "The kite is "}}
    asked = [
        chat("What is 27 + 45?"),
        chat("Take 8 from 95.", stream=True),
        chat(STORY, max_tokens=96),
        chat(STORY, max_tokens=96, stream=True),
        chat(STORY, max_tokens=64, temperature=0.9, seed=7),
        chat("Reverse this list: Mia fox red kite.", n=2, temperature=1.0, seed=3),
        chat("What is 3 + 4?", max_tokens=24, response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}),
        chat("What is 61 + 7?", diffusion={"threshold": 1.0}),
        chat(" ".join(f"Mia has a red kite {i}." for i in range(24)) + " What does Mia have?", max_tokens=24),
        ("/v1/completions", {"prompt": "Once there was", "max_tokens": 48}),
        ("/v1/completions", {"prompt": ["One morning", "Ben"], "max_tokens": 9, "stream": True}),
        ("/v1/decisions", {"state": "Mia has a red kite. What color is the kite?", "prompt": "{state}", "questions": color}),
        ("/api/chat", {"messages": [{"role": "user", "content": "Who are you?"}], "stream": False}),
        ("/api/generate", {"prompt": "Sort 5 2 9 1.", "stream": True}),
        ("/v1/denoise", {"messages": [{"role": "user", "content": "Hello!"}]}),
    ]
    return [(path, json.dumps(body).encode(), bool(body.get("stream")) or path == "/v1/denoise") for path, body in asked]


def essence(body):
    """An answer without what differs from one time to another: ids, times, and what was found in memory."""
    if isinstance(body, dict):
        drop = ("id", "created", "created_at", "usage", "seconds", "cached_tokens", "cached", "forward_passes", "prefill_passes", "index", "kind", "first", "rows")
        return {key: essence(value) for key, value in body.items() if key not in drop and not key.endswith("_duration")}
    return [essence(value) for value in body] if isinstance(body, list) else body


def answer(text, streamed):
    """What was said: for a stream the joined pieces, by choice, and for passes what they revealed."""
    if not streamed:
        return essence(json.loads(text))
    said = {}
    for line in text.splitlines():
        line = line.removeprefix("data: ")
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        if "error" in event:
            return event
        for choice in event.get("choices", []):
            piece = choice.get("text", choice.get("delta", {}).get("content")) or ""
            said[choice["index"]] = said.get(choice["index"], "") + piece
        piece = event.get("response", event.get("text") if "finish_reason" not in event else None)
        if isinstance(piece, str):
            said["text"] = said.get("text", "") + piece
        said.setdefault("revealed", []).extend((token["position"], token["id"]) for token in event.get("tokens", []))
    return said


class Server:
    def __init__(self, program, options):
        self.process = subprocess.Popen([program, "--port", "0", *options], stderr=subprocess.PIPE, text=True)
        self.log, self.address = [], None
        threading.Thread(target=self.read, daemon=True).start()
        while self.address is None or self.get("/health") != 200:
            if self.process.poll() is not None:
                sys.exit("the server ended: " + "".join(self.log))
            time.sleep(0.05)

    def read(self):
        for line in self.process.stderr:
            if found := re.search(r"on http://([\d.]+):(\d+)", line):
                self.address = (found[1], int(found[2]))
            if len(self.log) < 1000 and " INFO " not in line:
                self.log.append(line)

    def get(self, path):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().status

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024


class Run:
    def __init__(self, server, seed):
        self.server, self.random = server, random.Random(seed)
        self.asked, self.expected = questions(), []
        self.over = threading.Event()
        self.lock, self.counts, self.wrong = threading.Lock(), {}, []

    def count(self, name):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1

    def fail(self, what):
        with self.lock:
            self.wrong.append(what)
        self.over.set()

    def alone(self):
        connection = http.client.HTTPConnection(*self.server.address, timeout=120)
        for path, body, streamed in self.asked:
            connection.request("POST", path, body)
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                sys.exit(f"{path}: {response.status} {text}")
            self.expected.append(answer(text, streamed))

    def client(self, seed):
        """Asks one question after the other on a persistent connection."""
        own, connection = random.Random(seed), None
        while not self.over.is_set():
            at = own.randrange(len(self.asked))
            path, body, streamed = self.asked[at]
            try:
                connection = connection or http.client.HTTPConnection(*self.server.address, timeout=600)
                connection.request("POST", path, body)
                response = connection.getresponse()
                text = response.read().decode()
            except OSError as error:
                if not self.over.is_set():
                    self.fail(f"{path}: {error!r}")
                return
            if response.status == 429:
                self.count("429")
                time.sleep(own.uniform(0.2, 2))
                continue
            if response.status != 200:
                return self.fail(f"{path}: {response.status} {text[:300]}")
            said = answer(text, streamed)
            if said != self.expected[at]:
                return self.fail(f"{path} {body[:200]}: {str(said)[:600]} instead of {str(self.expected[at])[:600]}")
            self.count("answers")

    # What hostile clients do. Each is repeated until the time is over.

    def connect(self):
        connection = socket.create_connection(self.server.address, timeout=30)
        return connection

    def request(self, path, body, head=b""):
        return b"POST %s HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n%s" % (path.encode(), head, len(body), body)

    def status(self, data, what, allowed):
        """Sends bytes; the answer is one of these, or the connection is closed."""
        connection = self.connect()
        try:
            try:
                connection.sendall(data)
            except OSError:
                pass
            head = b""
            try:
                head = connection.recv(4096)
            except OSError:
                pass
            found = re.match(rb"HTTP/1\.1 (\d+)", head)
            if head and (not found or int(found[1]) not in allowed):
                self.fail(f"{what}: {head[:300]!r}")
            self.count(f"{what}: {found[1].decode() if found else 'closed'}")
        finally:
            connection.close()

    def goes_away(self, own):
        path, body, _ = own.choice(self.asked)
        data = self.request(path, body)
        connection = self.connect()
        if own.random() < 0.5:
            connection.sendall(data[: own.randrange(len(data))])
        else:
            connection.sendall(data)
            for _ in range(own.randrange(4)):
                connection.recv(own.randrange(1, 400))
            time.sleep(own.uniform(0, 0.5))
        if own.random() < 0.5:
            # Reset instead of the usual end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self.count("went away")

    def reads_slowly(self, own):
        path, body, _ = self.asked[3]
        connection = self.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.sendall(self.request(path, body))
        for _ in range(100):
            if self.over.is_set() or not connection.recv(16):
                break
            time.sleep(0.05)
        connection.close()
        self.count("read slowly")

    def stays_half_open(self, own):
        connections = [self.connect() for _ in range(20)]
        for connection in connections:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n"[: own.randrange(1, 70)])
        self.over.wait(own.uniform(1, 20))
        for connection in connections:
            connection.close()
        self.count("stayed half-open")

    def sends_too_much(self, own):
        self.status(self.request("/v1/chat/completions", b'{"messages": "' + b"x" * (10 << 20) + b'"}'), "10 MB", {413})

    def nests_deeply(self, own):
        deep = own.choice([b"[" * 200_000, b'{"a":' * 200_000, b'{"messages": [{"content": ' + b"[" * 100_000])
        self.status(self.request(own.choice(["/v1/chat/completions", "/v1/decisions", "/api/chat"]), deep), "deep JSON", {400})

    def sends_no_text(self, own):
        body = b'{"messages": [{"role": "user", "content": "' + own.choice([b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"]) + b'"}]}'
        self.status(self.request("/v1/chat/completions", body), "invalid UTF-8", {400})

    def floods_headers(self, own):
        flood = own.choice([b"x: y\r\n" * 20_000, b"x: " + b"y" * 200_000 + b"\r\n", b"authorization: Bearer x\r\n" * 500])
        self.status(self.request("/v1/chat/completions", b"{}", flood), "header flood", {400, 431})

    def tricks_with_paths(self, own):
        path = own.choice([
            "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v1/models/../../etc/passwd", "/v1/models/%00",
            "/v1/models/..%2f..%2fetc%2fpasswd", "/v1/chat/completions/", "/" + "a" * 20_000, "/v1/models/" + "%41" * 5000, "/./",
            "http://example.org/v1/models/x", "*", "/v1/models/\\..\\..", "/?" + "&" * 10_000,
        ])
        allowed = {400, 404, 405, 414, 431} | ({200} if path.startswith("/?") else set())
        self.status(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode(), "odd path", allowed)

    def hostile(self, act, pause, seed):
        own = random.Random(seed)
        while not self.over.wait(own.uniform(0, 2 * pause)):
            try:
                act(own)
            except OSError:
                # The server may close what makes no sense.
                self.count("closed")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--connections", type=int, default=200)
    arguments.add_argument("--queue", default="150")
    arguments.add_argument("--seed", type=int, default=1)
    args = arguments.parse_args()
    server = Server(args.program, ["--queue", args.queue])
    run = Run(server, args.seed)
    run.alone()
    acts = [(run.goes_away, 0.2), (run.goes_away, 0.2), (run.reads_slowly, 1), (run.stays_half_open, 1), (run.sends_too_much, 3),
            (run.nests_deeply, 1), (run.sends_no_text, 0.5), (run.floods_headers, 1), (run.tricks_with_paths, 0.3)]
    threads = [threading.Thread(target=run.client, args=(args.seed + i,)) for i in range(args.connections)]
    threads += [threading.Thread(target=run.hostile, args=(act, pause, args.seed - 1 - i)) for i, (act, pause) in enumerate(acts)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    memory = []
    while time.monotonic() - began < args.seconds and not run.over.wait(1):
        if server.process.poll() is not None:
            run.fail(f"the server ended with {server.process.returncode}")
            break
        memory.append(server.memory())
    run.over.set()
    for thread in threads:
        thread.join(120)
    for thread in threads:
        if thread.is_alive():
            run.wrong.append("a client still waits for its answer")
            break
    third = max(1, len(memory) // 3)
    middle, last = max(memory[third : 2 * third] or memory), max(memory[-third:])
    if last > middle * 1.05 + (8 << 20):
        run.wrong.append(f"memory grew: at most {middle >> 20} MiB in the middle, {last >> 20} MiB at the end")
    if server.process.poll() is None:
        if server.get("/health") != 200:
            run.wrong.append("not healthy at the end")
        server.process.send_signal(signal.SIGTERM)
        if server.process.wait(60) != 0:
            run.wrong.append(f"ended with {server.process.returncode}")
    if panics := [line for line in server.log if "panic" in line]:
        run.wrong.append(f"it panicked: {panics[0]}")
    seconds = time.monotonic() - began
    megabytes = [round(value / 2**20, 1) for value in (memory[0], middle, last)]
    print(json.dumps({"seconds": round(seconds, 1), "connections": args.connections, "counts": dict(sorted(run.counts.items())),
                      "memory_mib": dict(zip(["first", "middle", "last"], megabytes)), "wrong": run.wrong[:5]}, indent=2))
    sys.exit(bool(run.wrong))


if __name__ == "__main__":
    main()
