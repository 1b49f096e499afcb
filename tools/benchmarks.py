#!/usr/bin/env python3
"""Measures what docs/benchmarks.md says, and writes its tables.

    cargo build --release --workspace --exclude diffulex-python --bins
    tools/benchmarks.py                            every part: half an hour
    tools/benchmarks.py forward server             these parts
    tools/benchmarks.py --llama venv/bin/python --onnxruntime venv/bin/python forward server
    tools/benchmarks.py --write                    the tables again, from the results that are there
    tools/benchmarks.py --check                    exit status 1 if the page and the results differ

A part leaves its results in docs/measurements/results/PART.json, with the machine, the date and every command, and its table goes between the
lines `<!-- PART -->` and `<!-- end of PART -->` of the page; the words around them are written by hand. What cannot run here (no memory, no such
program) is skipped, and the result says so. --results and --page name other places, for a machine that has a page of its own. --llama, --onnxruntime and --pytorch name a Python with that engine (how to install it: tools/peer_llama_cpp.py,
tools/peer_onnxruntime.py, tools/peer_pytorch.py). --quick tries everything with tiny shapes, and needs --results and --page: its numbers mean nothing.
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/benchmarks.md"
RESULTS = ROOT / "docs/measurements/results"
PROMPTS = ["What is 27 + 45?", "Sort these numbers: 7 3 9 1.", "Tell a story about Mia the fox."]
DEMOS = ["demo/sdar", "demo/llada", "demo/llada2"]
# Questions of each task: an answer of a bidirectional model without a cache takes at least a hundred times as long as one of the others.
QUESTIONS = {"demo/llada": 10}
# Prints the largest resident set of the program that it runs, after what that prints.
RESIDENT = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"


class Part:
    """What a part measures: runs with their commands, and what was skipped."""

    def __init__(self, args):
        self.args, self.commands, self.skipped = args, [], []

    def run(self, *command, shown=None):
        """Standard output of a command, or None if it failed, which is noted. `shown` is what a user would type for it."""
        command = [str(word) for word in command]
        self.commands.append(self.plain(" ".join(shlex.quote(str(word)) for word in shown or command)))
        print(f"  {self.commands[-1]}", file=sys.stderr, flush=True)
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3600)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.skip(f"{self.commands[-1]}: {error}")
            return None
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            self.skip(f"{self.commands[-1]}: exit status {done.returncode}: {last}")
            return None
        return done.stdout

    def plain(self, text):
        """Without the directories of this machine."""
        for python in filter(None, [self.args.llama, self.args.onnxruntime, self.args.pytorch]):
            text = text.replace(python, "venv/bin/python")
        text = text.replace(f"{self.args.bin}/", "").replace(f"{ROOT}/", "").replace(sys.executable, "python3")
        return re.sub(rf"{re.escape(tempfile.gettempdir())}/[^/ ]+/", "", text)

    def ours(self, program, *words):
        return self.run(self.args.bin / program, *words)

    def bench(self, *words):
        text = self.ours("diffulex-bench", *words, "--seconds", self.args.seconds, "--threads", self.args.threads, "--json")
        return None if text is None else json.loads(text)

    def synth(self, preset, dtype, directory):
        """A checkpoint of random weights in the directory, or None."""
        path = pathlib.Path(directory, f"{preset}-{dtype}")
        if not path.exists() and self.ours("diffulex-synth", preset, "--dtype", dtype, "-o", path) is None:
            return None
        return path

    def skip(self, what):
        print(f"  skipped: {what}", file=sys.stderr, flush=True)
        self.skipped.append(self.plain(what))


def forward(part):
    """Forward passes of dense shapes, and of other engines right before."""
    rows = ["1", "4"] if part.args.quick else ["1", "4", "8", "16", "32", "128"]
    lines = []
    shapes = [("tiny-sdar", "int4", None)] if part.args.quick else [("sdar-1.7b", "int4", "q4_0"), ("sdar-1.7b", "int8", "q8_0"), ("sdar-1.7b", "bf16", "bf16"), ("dream-7b", "int4", "q4_0")]
    for preset, element, theirs in shapes:
        peers = []
        if theirs and part.args.llama:
            peers.append(("llama.cpp", [part.args.llama, "tools/peer_llama_cpp.py", preset, theirs]))
        if element == "int4" and theirs and part.args.onnxruntime:
            peers.append(("onnxruntime", [part.args.onnxruntime, "tools/peer_onnxruntime.py", preset]))
        if element == "bf16" and part.args.pytorch:
            peers.append(("PyTorch", [part.args.pytorch, "tools/peer_pytorch.py", preset]))
        theirs = []
        for name, command in peers:
            text = part.run(*command, "--rows", ",".join(rows), "--threads", part.args.threads)
            for line in csv.DictReader((text or "").splitlines()):
                theirs.append({"name": line.get("name") or name, "rows": int(line["rows"]), "ms": float(line["ms"])})
        report = part.bench("--preset", preset, "--format", element, "--rows", ",".join(rows))
        if report:
            lines.append({"model": preset, "format": element, "report": report, "peers": theirs})
    return lines


def forward_table(lines):
    counts = sorted({case["rows"] for line in lines for case in line["report"]["cases"]})
    table = [["ms, rows", *map(str, counts)]]
    for line in lines:
        cases = {case["rows"]: case for case in line["report"]["cases"]}
        name = f"{line['model']}, {line['format']} ({line['report']['activations']} activations)"
        table.append([name, *(number(cases[count]["median_ms"]) for count in counts)])
        table.append(["share of the limit", *(f"{100 * cases[count]['share']:.0f} %" for count in counts)])
        for peer in dict.fromkeys(peer["name"] for peer in line["peers"]):
            times = {entry["rows"]: entry["ms"] for entry in line["peers"] if entry["name"] == peer}
            table.append([peer, *(number(times[count]) if count in times else "" for count in counts)])
            table.append(["times as long", *(f"{times[count] / cases[count]['median_ms']:.1f}" if count in times else "" for count in counts)])
    return table


def experts(part):
    """Forward passes of models with experts. Their number is set to what trained models are reported to read; random routers read few."""
    shapes = [("tiny-sdar-moe", [], [(1, 2), (4, 3)])] if part.args.quick else [
        ("llada2-mini", [], [(1, 8), (4, 24), (8, 41), (32, 98)]),
        ("sdar-30b-a3b", ["--layers", "12"], [(1, 8), (4, 23), (8, 41), (32, 98)]),
        ("llada-moe-7b", [], [(1, 8), (4, 21), (8, 34), (32, 58)]),
    ]
    lines = []
    for preset, more, cases in shapes:
        for rows, touched in cases:
            report = part.bench("--preset", preset, *more, "--format", "int4", "--rows", rows, "--context", "0,512", "--experts-touched", touched)
            if report:
                lines.append({"model": " ".join([preset, *more]), "experts": touched, "report": report})
    return lines


def experts_table(lines):
    table = [["model, int4", "rows", "cached positions", "experts of a block", "median ms", "limit ms", "by", "share"]]
    for line in lines:
        for case in line["report"]["cases"]:
            table.append([line["model"].replace(" --layers ", ", layers: "), str(case["rows"]), str(case["context"]), str(line["experts"]), number(case["median_ms"]), number(case["limit_ms"]), case["limited_by"], f"{100 * case['share']:.0f} %"])
    return table


def generate(part):
    """Answers of the demo models, from the question to the end."""
    lines = []
    for model in DEMOS:
        for prompt in PROMPTS:
            text = part.ours("diffulex-run", "-w", model, "--prompt", prompt, "--json", "--threads", part.args.threads)
            if text:
                report = json.loads(text)
                kept = ["prompt_tokens", "new_tokens", "nfe", "prefill_passes", "tokens_per_forward", "seconds", "tokens_per_second", "kernels"]
                lines.append({"model": model, "prompt": prompt, "report": {key: report[key] for key in kept}})
    return lines


def generate_table(lines):
    table = [["model", "question", "new tokens", "passes", "tokens a pass", "tokens/s"]]
    for line in lines:
        report = line["report"]
        table.append([line["model"], line["prompt"], str(report["new_tokens"]), str(report["nfe"] - report["prefill_passes"]), f"{report['tokens_per_forward']:.2f}", number(report["tokens_per_second"])])
    return table


def server(part):
    """Many requests at a time."""
    quick = part.args.quick
    with tempfile.TemporaryDirectory() as directory:
        model = part.synth("tiny-sdar" if quick else "sdar-1.7b", "int4", directory)
        if model is None:
            return []
        command = [sys.executable, "tools/server/throughput.py", "--server", part.args.bin / "diffulex-server", "--threads", part.args.threads]
        command += ["--model", f"{model}:strategy=sdar-static,steps_per_block=2"]
        command += ["--requests", "1,2", "--tokens", "8"] if quick else []
        command += ["--llama", part.args.llama] if part.args.llama and not quick else []
        text = part.run(*command)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in (text or "").strip().splitlines()]
    return [dict(zip(lines[0], line)) for line in lines[2:]]


def server_table(lines):
    return [list(lines[0]), *(list(line.values()) for line in lines)] if lines else []


def opening(part):
    """How long opening takes, and the most memory in use, until the first token."""
    quick, lines = part.args.quick, []
    preset = "tiny-sdar" if quick else "sdar-1.7b"
    with tempfile.TemporaryDirectory() as directory:
        for dtype, more in [("int4", []), ("bf16", []), ("bf16", ["--quantize", "int4"]), ("bf16", ["--no-mmap"])]:
            model = part.synth(preset, dtype, directory)
            if model is None:
                continue
            command = [part.args.bin / "diffulex-run", "-w", model, "--ids", "1,2,3", "--max-tokens", "1", "--json", "--threads", part.args.threads, *more]
            text = part.run(sys.executable, "-c", RESIDENT, *command, shown=command)
            if text:
                report, _, kilobytes = text.strip().rpartition("\n")
                bytes_ = sum(file.stat().st_size for file in model.glob("*.safetensors"))
                lines.append({"model": preset, "stored": dtype, "options": " ".join(more), "file_bytes": bytes_, "open_s": json.loads(report)["seconds"]["open"], "resident_bytes": 1024 * int(kilobytes)})
    return lines


def opening_table(lines):
    table = [["model", "stored as", "options", "file", "seconds to open", "memory"]]
    return table + [[line["model"], line["stored"], f"`{line['options']}`" if line["options"] else "", size(line["file_bytes"]), f"{line['open_s']:.2f}", size(line["resident_bytes"])] for line in lines]


def quality(part):
    """Right answers of the demo models by format, rule of unmasking and cache."""
    lines = []
    for model in DEMOS:
        limit = 1 if part.args.quick else QUESTIONS.get(model)
        words = ["formats" if part.args.quick else "all", *(["--limit", limit] if limit else [])]
        text = part.ours("diffulex-bench", "-w", model, "--quality", *words, "--threads", part.args.threads, "--json")
        if text:
            lines.append({"model": model, "report": json.loads(text)})
    return lines


def quality_table(lines):
    table = [["model", "setting", "questions", "right answers", "tokens a pass"]]
    for line in lines:
        for row in line["report"]["settings"]:
            table.append([line["model"], row["setting"], str(line["report"]["questions"]), f"{row['accuracy']:.1f} %", f"{row['tokens_per_forward']:.2f}"])
    return table


PARTS = {
    "forward": (forward, forward_table),
    "experts": (experts, experts_table),
    "generate": (generate, generate_table),
    "server": (server, server_table),
    "opening": (opening, opening_table),
    "quality": (quality, quality_table),
}


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(count):
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def machine(args):
    """What distinguishes this machine from others. Its name and its directories do not belong in a result."""
    names = []
    if pathlib.Path("/proc/cpuinfo").exists():
        names = re.findall(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), flags=re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    version = subprocess.run([args.bin / "diffulex-run", "--version"], capture_output=True, text=True, check=True).stdout
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {"cpu": names[0] if names else platform.machine(), "cpus": os.cpu_count(), "threads": args.threads, "memory": memory, "system": platform.system(), "program": version.splitlines()[0], "commit": commit}


def rendered(name, result):
    """What the page says about a result."""
    table = PARTS[name][1](result["lines"])
    where, out = result["machine"], []
    if table:
        rows = [f"| {' | '.join(cells)} |" for cells in table]
        out += [rows[0], "|" + "---|" * len(table[0]), *rows[1:], ""]
    out += [f"{where['cpu']}, {where['cpus']} CPUs, {where['threads']} threads, {size(where['memory'])}; {result['date']}, {where['program']}, commit {where['commit']}."]
    out += [f"Skipped: {what}" for what in result["skipped"]]
    out += ["", "```text", *result["commands"], "```"]
    return "\n".join(out)


def tables(args):
    """The page with the tables of the results that are there. It has all parts, or the page of another machine some."""
    text = args.page.read_text()
    for name in PARTS:
        file = args.results / f"{name}.json"
        if not re.search(rf"<!-- {name} -->\n.*<!-- end of {name} -->", text, flags=re.S):
            if args.page != PAGE and not file.exists():
                continue
            sys.exit(f"{args.page}: the lines `<!-- {name} -->` and `<!-- end of {name} -->` are not there")
        inside = rendered(name, json.loads(file.read_text())) if file.exists() else f"Not measured yet: `tools/benchmarks.py {name}`."
        text = re.sub(rf"(<!-- {name} -->\n).*(<!-- end of {name} -->)", lambda found: f"{found[1]}\n{inside}\n\n{found[2]}", text, flags=re.S)
    return text


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [default: all]")
    parser.add_argument("--check", action="store_true", help="say whether the page and the results differ, and measure nothing")
    parser.add_argument("--write", action="store_true", help="write the tables, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release", help="directory of the programs [default: target/release]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case")
    parser.add_argument("--llama", help="Python with llama-cpp-python")
    parser.add_argument("--onnxruntime", help="Python with onnxruntime and onnx")
    parser.add_argument("--pytorch", help="Python with torch")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    args = parser.parse_args()
    if unknown := [name for name in args.parts if name not in PARTS]:
        parser.error(f"unknown parts {', '.join(unknown)}; expected {', '.join(PARTS)}")
    if args.quick and (args.results == RESULTS or args.page == PAGE):
        parser.error("--quick needs --results and --page of its own: its numbers say nothing")
    if args.quick:
        args.seconds = 0.05
    args.bin = args.bin.resolve()
    return args


def main():
    args = arguments()
    if args.check:
        if tables(args) != args.page.read_text():
            sys.exit(f"{args.page} and {args.results} differ; tools/benchmarks.py --write writes the tables")
        return
    for name in [] if args.write else args.parts or PARTS:
        print(f"{name}: {PARTS[name][0].__doc__}", file=sys.stderr, flush=True)
        part = Part(args)
        lines = PARTS[name][0](part)
        if not lines:
            print(f"{name}: nothing could be measured", file=sys.stderr)
            continue
        result = {"machine": machine(args), "date": datetime.date.today().isoformat(), "commands": part.commands, "skipped": part.skipped, "lines": lines}
        args.results.mkdir(parents=True, exist_ok=True)
        (args.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    args.page.write_text(tables(args))


main()
