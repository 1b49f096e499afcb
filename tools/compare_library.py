#!/usr/bin/env python3
"""Compares what the library computes with a record of tools/record_golden.py, through the Python package and nothing else.

    tools/compare_library.py tests/golden/sdar-f32 [DIRECTORY ..]

The package is the one that is installed, or that of the source tree (python/README.md).

Logits: the largest difference. Generations: equal (0) or not (inf), for the decoding that a family is published with; a generation of
ours ends at its stop id, so the tokens up to there are compared. Entries that need what the library does not offer (a
block that is not the model's in a single pass, batches) are left out.
"""

import importlib.util
import json
import math
import struct
import sys
from array import array
from collections import namedtuple
from pathlib import Path

if importlib.util.find_spec("diffulex") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import diffulex  # noqa: E402 (the path has to come first)

Result = namedtuple("Result", "name difference")
LIMIT = 1e-4


def read_tensors(path):
    """Names to flat arrays. f32 and i64 are all that is compared."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, tensor in json.loads(data[8 : 8 + length]).items():
        code = {"F32": "f", "I64": "q"}.get(tensor.get("dtype"))
        if code:
            begin, end = tensor["data_offsets"]
            found[name] = array(code, data[8 + length + begin : 8 + length + end])
    return found


def passes(engine, manifest, tensors):
    info = engine.info
    for entry in manifest["forward"]:
        attention, ids = entry["attention"], tensors[entry["name"] + ".ids"]
        block = int(attention.split("block ")[1].split()[0]) if attention.startswith("block-causal") else len(ids)
        if "batch" in entry or attention == "causal" or (block < len(ids) and block != info.block):
            continue
        with engine.session() as session:
            session.forward(ids, visible="all" if block >= len(ids) else "rule")
            found = [x for row in session.logits(range(len(ids))) for x in row]
        wanted = tensors[entry["name"] + ".logits"]
        difference = max(abs(x - y) for x, y in zip(found, wanted))
        same_size = len(found) == len(wanted) and not math.isnan(difference)
        yield Result(entry["name"], difference if same_size else math.inf)


def request(trace):
    """Arguments of Session.generate for a recorded run, or None if it is not one that a family is published with."""
    p, function = trace["params"], trace["function"].split(" (")[0]
    if len(trace["prompt_ids"]) != 1:
        return None
    if function == "llada.generate":
        return {"max_new": p["gen_length"], "policy": "llada-low-confidence", "steps": p["steps"], "block": p["block_length"],
                "cfg": p.get("cfg_scale", 0)}
    if function == "sdar.block_diffusion_generate" and "threshold" in p:
        return {"max_new": p["gen_length"], "policy": "sdar-dynamic", "steps": p["denoising_steps"], "block": p["block_length"],
                "threshold": p["threshold"], "stop": p.get("stopping_criteria_idx", [])}
    names = {"maskgit_plus": "dream-maskgit", "topk_margin": "dream-margin", "entropy": "dream-entropy"}
    if function == "dream.diffusion_generate" and p["alg"] in names and p["top_p"] is None:
        return {"max_new": p["max_new_tokens"], "policy": names[p["alg"]], "steps": p["steps"]}
    # The reference does not read a prompt of exactly one block (tests/golden/README.md).
    if function == "fast_dllm_v2.generate" and "use_block_cache" not in p and len(trace["prompt_ids"][0]) != p["block_size"]:
        return {"max_new": p["max_new_tokens"], "policy": "fast-dllm-v2", "block": p["block_size"],
                "sub_block": p["small_block_size"], "threshold": p["threshold"], "stop": [p["stop_token"]]}
    return None


def generations(engine, manifest):
    for trace in manifest["traces"]:
        arguments = request(trace)
        if arguments is None:
            continue
        (prompt,), (final,) = trace["prompt_ids"], trace["final_ids"]
        # What generation_config.json says was not part of the recorded calls.
        plain = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 1, "stop": []}
        found = engine.generate(prompt, **{**plain, **arguments})
        # The reference rounds the length in its own way: what both generated is compared, and must not be empty.
        both = min(len(found.tokens), len(final) - len(prompt))
        same = both > 0 and list(found.tokens[:both]) == final[len(prompt) : len(prompt) + both]
        yield Result(f"trace {trace['name']}", 0.0 if same else math.inf)


def compare(directory, **options):
    """All results of a recorded directory. `options` are those of Engine.open."""
    manifest = json.loads((directory / "golden.json").read_text())
    tensors = read_tensors(directory / "golden.safetensors")
    with diffulex.Engine.open(directory, **{"kv": "f32", "mask": manifest["mask_token_id"], **options}) as engine:
        return [*passes(engine, manifest, tensors), *generations(engine, manifest)]


def report(directory):
    """Prints the results of a directory. Returns whether all are within the limit."""
    results = compare(directory)
    for name, difference in results:
        print(f"{directory.name:22} {name + ' (library)':38} max difference {difference:.2e}{'' if difference <= LIMIT else '  TOO LARGE'}")
    return bool(results) and all(difference <= LIMIT for _, difference in results)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: compare_library.py DIRECTORY ..")
    sys.exit(0 if all([report(Path(directory)) for directory in sys.argv[1:]]) else 1)
