#!/usr/bin/env python3
"""Records reference outputs of a checkpoint in the format of tests/golden/README.md, for diffulex-verify.

    python tools/record_golden.py --model DIR --out DIR [--verify PROGRAM]

Needs torch, safetensors, numpy and transformers (for the tokenizer). The forward pass and the loops are written out in plain
PyTorch (diffusion_reference.py, diffusion_loops.py), because the code published with some checkpoints needs a GPU or an old
library; `--cross-check` compares it with that code where it runs.

What is recorded: logits of several lengths, the inside of one forward pass, RoPE rows, the family's usual greedy decoding,
chat and text. `--compare` instead recomputes what an existing golden.json of the model holds, reports the differences, and
names the traces that it has no loop for (with caches, filters, batches, random draws); with `--library`, also those of the C
library (tools/compare_library.py does that alone, without PyTorch).
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

try:
    import torch
    import transformers  # noqa: F401 (needed later, for the tokenizer)
    from safetensors.torch import load_file, save_file
except ImportError as error:
    sys.exit(f"{error}\nneeded: pip install torch safetensors numpy transformers")

from diffusion_loops import GENERATE, dllm_counts, run_trace
from diffusion_reference import Model

TALKS = [
    ([("user", "What is the capital of the country?")], True),
    ([("user", "What is the capital of the country?")], False),
    ([("system", "Answer in one word."), ("user", "naïve 🙂 <|im_end|> or not?\n"), ("assistant", "No."), ("user", "1+1=?")], True),
]
TEXTS = ["", " ", "hello", "The train leaves at 7:45.", "a\nb\n\nc", "tabs\tand  spaces   ", "naïve Café ½ 🙂", "語 x=1;y=22;333"]


def usual_traces(model, mask, eos, new):
    """The decoding that the family is published with: name, function, parameters."""
    if model.family in ("llada", "llada_moe"):
        base = {"temperature": 0.0, "remasking": "low_confidence", "mask_id": mask, "gen_length": new}
        yield "plain", "llada.generate (original repository)", {**base, "steps": new, "block_length": new}
        yield "plain_block", "llada.generate (original repository)", {**base, "steps": new // 2, "block_length": new // 2}
    elif model.family == "dream":
        base = {"temperature": 0.0, "top_p": None, "top_k": None, "alg_temp": 0.0, "eps": 1e-3, "mask_token_id": mask}
        for alg in ("entropy", "maskgit_plus"):
            yield alg, "dream.diffusion_generate", {**base, "max_new_tokens": new, "steps": new // 2, "alg": alg}
    elif model.family in ("sdar", "sdar_moe"):
        base = {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "remasking": "low_confidence", "mask_id": mask, "gen_length": new,
                "block_length": model.block, "denoising_steps": model.block}
        yield "eval_static", "sdar.block_diffusion_generate (evaluation version)", {**base, "threshold": 1.0}
        yield "eval_threshold", "sdar.block_diffusion_generate (evaluation version)", {**base, "threshold": 0.9}
    elif model.family == "llada2":
        base = {"mask_id": mask, "eos_id": eos, "gen_length": new, "block_length": model.block}
        yield "v20", "llada2.generate (LLaDA2.0)", {**base, "steps": model.block, "threshold": 0.95}
        yield "v21", "llada2.generate (LLaDA2.1)", {**base, "threshold": 0.95, "editing_threshold": 0.9, "max_post_steps": 16,
                                                    "num_to_transfer": 1}
    elif model.family == "a2d":
        base = {"temperature": 0.0, "remasking": "low_confidence", "mask_id": mask, "max_new_tokens": new, "steps": new}
        yield "mdlm", "dllm.mdlm.sample", {**base, "block_size": min(32, new)}
        pad = model.config.get("pad_token_id")
        yield "bd3lm", "dllm.bd3lm.sample", {**base, "block_size": min(32, new), "eos_id": eos, "pad_id": pad}
    elif model.family == "stable":
        base = {"temperature": 0.0, "remasking": "low_confidence", "shift": False, "mask_id": mask, "eos_id": eos, "gen_length": new,
                "block_length": model.block, "steps": new}
        yield "static", "stable_diffcoder.generate_block", {**base, "threshold": None}
        yield "threshold", "stable_diffcoder.generate_block", {**base, "threshold": 0.95}
    elif model.family == "nemotron":
        base = {"mask_id": mask, "eos_token_id": eos, "max_new_tokens": new, "block_length": min(model.config.get("block_size", 32), new)}
        yield "static", "nemotron_labs_diffusion.generate", {**base, "threshold": None}
        yield "threshold", "nemotron_labs_diffusion.generate", {**base, "threshold": 0.9}
    else:
        yield "default", "fast_dllm_v2.generate", {
            "mask_id": mask, "stop_token": eos, "temperature": 0, "max_new_tokens": -(-new // model.block) * model.block,
            "block_size": model.block, "small_block_size": min(8, model.block), "threshold": 0.9}


def mask_of(model, tokenizer):
    """config.json, then the tokenizer's mask token, then an added token that is written like one."""
    if model.config.get("mask_token_id") is not None:
        return model.config["mask_token_id"]
    if getattr(tokenizer, "mask_token_id", None) is not None:
        return tokenizer.mask_token_id
    found = [id for token, id in tokenizer.get_added_vocab().items() if "mask" in token.lower().strip("<>|[]").split("_")]
    if len(found) != 1:
        sys.exit(f"{model.dir}: {len(found)} added tokens look like a mask token, expected one")
    return found[0]


def eos_of(model, tokenizer):
    """The end token: config.json, then generation_config.json, then the tokenizer. Of several, the first."""
    generation = model.dir / "generation_config.json"
    generation = json.loads(generation.read_text()) if generation.exists() else {}
    for ids in (model.config.get("eos_token_id"), generation.get("eos_token_id"), tokenizer.eos_token_id):
        if ids is not None:
            return ids[0] if isinstance(ids, list) else ids
    sys.exit(f"{model.dir}: neither config.json nor generation_config.json nor the tokenizer names an end token")


def margins(logits):
    two = logits.topk(2, -1).values
    margin = two[..., 0] - two[..., 1]
    return {"min_top1_margin": float(margin.min()), "median_top1_margin": float(margin.median())}


def record_forward(model, mask, known, max_len, manifest, tensors):
    """`known`: the ids of ordinary tokens."""
    generator = torch.Generator().manual_seed(0)

    def ids(length):
        plain = known[torch.randint(0, len(known), (length,), generator=generator)]
        return torch.where(torch.rand(length, generator=generator) < 0.4, mask, plain)

    cases = [(f"fwd.len{n}", ids(n), "own") for n in (1, 5, 17, 33) if n <= max_len]
    cases.append(("fwd.len1mask", torch.tensor([mask]), "own"))
    # A second kind of rule that the family has.
    more = {"sdar": "full", "sdar_moe": "full", "llada2": "full", "stable": "full", "a2d": "b8", "nemotron": "causal"}.get(model.family)
    if more and max_len >= 17:
        cases.append((f"fwd.len17.{more}", ids(17), {"full": None, "b8": 8, "causal": "causal"}[more]))
    for name, row, rule in cases:
        logits = model.forward(row, rule)
        manifest["forward"].append({"name": name, "len": len(row), **margins(logits), "attention": model.describe(rule)})
        tensors[f"{name}.ids"], tensors[f"{name}.logits"] = row[None], logits[None]
    inside, row = {}, ids(6)
    model.forward(row, inside=inside)
    manifest["hidden"] = {"attention": model.describe("own"), "moe_layers": model.sparse_layers()}
    tensors["hidden.ids"] = row[None]
    tensors.update({f"hidden.{name}": value for name, value in inside.items()})
    tensors["rope.positions"] = torch.tensor([0, 1, 2, 3, 7, 31, 100, 1000])
    tensors["rope.cos"], tensors["rope.sin"] = model.rope_rows(tensors["rope.positions"])


def record_text(tokenizer, manifest):
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    decode = lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
    for text in TEXTS:
        ids = encode(text)
        manifest["encode"].append({"text": text, "token_ids": ids, "decoded": decode(ids, False)})
    for turns, prompt in TALKS if tokenizer.chat_template else []:
        messages = [{"role": role, "content": content} for role, content in turns]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        ids = encode(rendered)
        manifest["chat"].append({
            "messages": messages, "add_generation_prompt": prompt, "rendered": rendered, "token_ids": ids,
            "decoded_skip_special": decode(ids, True), "decoded_keep_special": decode(ids, False)})


def record(model, options):
    import tokenizers
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model.dir, trust_remote_code=options.trust_remote_code)
    mask, size = mask_of(model, tokenizer), max(tokenizer.get_vocab().values()) + 1
    eos = eos_of(model, tokenizer)
    weights_dtype = str(model.weight(model.names["embed"]).dtype).removeprefix("torch.")
    manifest = {
        "format": 1, "family": model.family, "variant": options.name or model.dir.resolve().name,
        "weights_dtype": weights_dtype, "compute_dtype": "float32",
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        "special_ids": tokenizer.get_added_vocab(), "mask_token_id": mask, "eos_token_id": eos,
        "tokenizer_size": size, "vocab_size": model.vocab,
        "forward": [], "traces": [], "cache_scripts": [], "chat": [], "encode": [], "end_to_end": [],
        "provenance": "tools/record_golden.py: plain PyTorch forward pass and loops",
    }
    if model.block:
        manifest["forward_block"] = model.block
    tensors = {}
    record_text(tokenizer, manifest)
    special = set(tokenizer.get_added_vocab().values())
    known = torch.tensor([id for id in range(min(size, model.vocab)) if id not in special])
    record_forward(model, mask, known, options.max_len, manifest, tensors)
    prompt = manifest["chat"][0]["token_ids"] if manifest["chat"] else manifest["encode"][3]["token_ids"]
    for name, function, params in usual_traces(model, mask, eos, options.new_tokens):
        print(f"trace {name} ...", flush=True)
        try:
            trace, states = run_trace(model, function, params, prompt)
        except ValueError as error:
            print(f"trace {name} is left out: {error}")
            continue
        states_tensor = f"trace.{name}.states"
        manifest["traces"].append({"name": name, "function": function, "params": params, "prompt_ids": [prompt],
                                   "states_tensor": states_tensor, **trace})
        tensors[states_tensor] = states
    names = {torch.int64: "I64", torch.float32: "F32"}
    manifest["tensors"] = {key: {"shape": list(t.shape), "dtype": names[t.dtype]} for key, t in sorted(tensors.items())}
    return manifest, tensors


def write(model, manifest, tensors, out):
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() != model.dir.resolve():
        for path in model.dir.iterdir():
            link = out / path.name
            if path.is_file() and not path.name.startswith("golden.") and not link.exists():
                try:
                    link.symlink_to(path.resolve())
                except OSError:  # A file system without links.
                    shutil.copy(path, link)
    save_file({key: t.contiguous().clone() for key, t in tensors.items()}, out / "golden.safetensors")
    (out / "golden.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    print(f"{out}: {len(manifest['forward'])} forward passes, {len(manifest['traces'])} traces, {len(manifest['chat'])} chats")


def compare(model):
    """Recomputes an existing record. Returns whether everything agrees."""
    manifest = json.loads((model.dir / "golden.json").read_text())
    tensors, good = load_file(model.dir / "golden.safetensors"), True
    if "forward_block" in manifest:
        model.block = manifest["forward_block"]

    def report(name, worst, limit=1e-4):
        nonlocal good
        good &= worst <= limit
        print(f"{model.dir.name:22} {name:28} max difference {worst:.2e}{'' if worst <= limit else '  TOO LARGE'}")

    for entry in manifest["forward"]:
        ids, want = tensors[entry["name"] + ".ids"], tensors[entry["name"] + ".logits"]
        text = entry["attention"]
        rule = int(text.split("block ")[1].split()[0]) if text.startswith("block-causal") else None
        shown = tensors.get(entry["name"] + ".attention_mask", torch.ones_like(ids)).bool()
        hidden = ~shown if "pad keys masked out" in text else torch.zeros_like(shown)
        rows = [model.forward(row, "causal" if text == "causal" else rule, hidden_keys=pads) for row, pads in zip(ids, hidden)]
        report(entry["name"], float((torch.stack(rows) - want)[~hidden].abs().max()))
    inside = {}
    if "hidden.ids" in tensors:
        text = manifest.get("hidden", {}).get("attention", "")
        model.forward(tensors["hidden.ids"][0], None if text.startswith("full") else "own", inside=inside)
        wanted = [key for key in tensors if key.startswith("hidden.") and key != "hidden.ids"]
        for key in wanted:
            report(key, float((inside[key.removeprefix("hidden.")] - tensors[key]).abs().max()))
    if "rope.positions" in tensors:
        cos, sin = model.rope_rows(tensors["rope.positions"])
        distance = torch.maximum((cos - tensors["rope.cos"]).abs(), (sin - tensors["rope.sin"]).abs()).max(-1).values
        report("rope", float((distance - 1.2e-7 * tensors["rope.positions"]).max()), 1e-6)
    for case in manifest.get("schedules", {}).get("dllm_num_transfer", []):
        same = dllm_counts(case["masks"], case["steps"]) == case["counts"]
        good &= same
        print(f"{model.dir.name:22} {case['masks']} masks, {case['steps']} steps: {'equal' if same else 'DIFFERS'}")
    for trace in manifest["traces"]:
        params, known = trace["params"], GENERATE.get(trace["function"])
        unusual = params.get("use_block_cache") or params.get("top_k") not in (None, 1)
        if not known or unusual or len(trace["prompt_ids"]) > 1 or "stopping_criteria_idx" in params \
                or params.get("alg") in ("origin", "confidence_threshold") or trace["name"] == "prompt_equals_block":
            print(f"{model.dir.name:22} trace {trace['name']:22} not recomputed: no loop for it here")
            continue
        found, states = run_trace(model, trace["function"], params, trace["prompt_ids"][0])
        same = torch.equal(states, tensors[trace["states_tensor"]]) and all(found[key] == trace[key] for key in found)
        good &= same
        print(f"{model.dir.name:22} trace {trace['name']:22} {'equal' if same else 'DIFFERS'}")
    return good


def cross_check(model, options):
    """Compares with the code published with the checkpoint. Only for families whose forward pass needs no block mask."""
    if model.family not in ("dream", "llada", "llada_moe"):
        sys.exit("--cross-check: this family's published forward pass needs its own mask; only Dream, LLaDA and LLaDA-MoE can be checked")
    import transformers

    other = transformers.AutoModel.from_pretrained(model.dir, trust_remote_code=True, torch_dtype=torch.float32).eval()
    ids = torch.randint(0, model.vocab, (17,), generator=torch.Generator().manual_seed(0))
    difference = float((other(ids[None]).logits[0] - model.forward(ids)).abs().max())
    print(f"published code: max difference {difference:.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--out", type=Path, help="where to write; the checkpoint's files are linked there (default: --model)")
    parser.add_argument("--max-len", type=int, default=33, help="longest forward pass to record (default 33)")
    parser.add_argument("--new-tokens", type=int, default=32, help="tokens that each trace generates (default 32)")
    parser.add_argument("--name", help="name of the record (default: the directory's)")
    parser.add_argument("--verify", help="path of diffulex-verify (default: the one on PATH, if any)")
    parser.add_argument("--trust-remote-code", action="store_true", help="let the tokenizer run code from the checkpoint")
    parser.add_argument("--compare", action="store_true", help="recompute the record in --model and report differences")
    parser.add_argument("--library", action="store_true", help="with --compare: also compare the C library (DIFFULEX_LIB) with the record")
    parser.add_argument("--cross-check", action="store_true", help="compare one pass with the checkpoint's own code (runs that code)")
    options = parser.parse_args()
    with torch.inference_mode():
        model = Model(options.model)
        if options.compare:
            good = compare(model)
            if options.library:
                from compare_library import report

                good &= report(model.dir)
            sys.exit(0 if good else 1)
        if options.cross_check:
            cross_check(model, options)
        out = options.out or options.model
        manifest, tensors = record(model, options)
        write(model, manifest, tensors, out)
    verify = options.verify or shutil.which("diffulex-verify")
    if verify:
        sys.exit(subprocess.run([verify, str(out)]).returncode)


if __name__ == "__main__":
    main()
