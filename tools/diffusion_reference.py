"""The four families in plain PyTorch: one forward pass and the usual greedy decoding loops, without caches.

Sections are those of tests/golden/README.md. Weights keep their element type in memory; all arithmetic is float32.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open

FAMILIES = {"SDARForCausalLM": "sdar", "Fast_dLLM_QwenForCausalLM": "fdv2", "DreamModel": "dream", "LLaDAModelLM": "llada"}
HF_NAMES = {
    "embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head", "block": "model.layers.",
    "norm1": "input_layernorm", "norm2": "post_attention_layernorm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}
LLADA_NAMES = {
    "embed": "model.transformer.wte", "norm": "model.transformer.ln_f", "head": "model.transformer.ff_out",
    "block": "model.transformer.blocks.", "norm1": "attn_norm", "norm2": "ff_norm",
    "q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "attn_out", "q_norm": "q_norm", "k_norm": "k_norm",
    "gate": "ff_proj", "up": "up_proj", "down": "ff_out",
}


class Model:
    """A checkpoint and its forward pass. Shapes: L tokens, D hidden, H heads, K key/value heads, h head_dim."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.config = config = json.loads((self.dir / "config.json").read_text())
        architecture = config["architectures"][0]
        if architecture not in FAMILIES:
            sys.exit(f"{architecture} is not supported; known: {', '.join(FAMILIES)}")
        self.family = FAMILIES[architecture]
        self.tensors = self.open_weights()
        llada = self.family == "llada"
        self.names = LLADA_NAMES if llada else HF_NAMES
        get = config.get
        self.layers = config["n_layers" if llada else "num_hidden_layers"]
        self.hidden = config["d_model" if llada else "hidden_size"]
        self.heads = config["n_heads" if llada else "num_attention_heads"]
        self.kv_heads = get("n_kv_heads" if llada else "num_key_value_heads") or (1 if get("multi_query_attention") else self.heads)
        self.head_dim = get("head_dim") or self.hidden // self.heads
        self.eps = get("rms_norm_eps", 1e-5 if llada else 1e-6)
        theta = get("rope_theta") or (get("rope_parameters") or {}).get("rope_theta") or (5e5 if llada else 1e6)
        self.inv_freq = 1.0 / (float(theta) ** (torch.arange(0, self.head_dim, 2).float() / self.head_dim))
        self.tied = get("weight_tying" if llada else "tie_word_embeddings", False)
        self.block = get("bd_size", 32) if self.family == "fdv2" else get("block_size", 4)
        self.causal = self.family in ("sdar", "fdv2")
        self.vocab = self.weight(self.names["embed"]).shape[0]

    def open_weights(self):
        index = self.dir / "model.safetensors.index.json"
        files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
        tensors = {}
        for name in files:
            with safe_open(self.dir / name, "pt") as file:
                tensors.update({key: file.get_tensor(key) for key in file.keys()})
        return tensors

    def weight(self, name):
        return self.tensors[name + ".weight"]

    def linear(self, x, name):
        bias = self.tensors.get(name + ".bias")
        return F.linear(x, self.weight(name).float(), None if bias is None else bias.float())

    def rms_norm(self, x, name):
        return self.weight(name).float() * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))

    def rope_rows(self, positions):
        angle = positions.float()[:, None] * self.inv_freq
        return torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()

    def attention(self, x, prefix, mask, inside):
        rows, n = x.shape[0], self.names
        project = lambda name, heads: self.linear(x, prefix + n[name]).view(rows, heads, self.head_dim)
        q, k, v = project("q", self.heads), project("k", self.kv_heads), project("v", self.kv_heads)
        flat = lambda t: t.reshape(1, rows, -1)
        inside.update({"q_proj": flat(q), "k_proj": flat(k), "v_proj": flat(v)})
        if self.family == "sdar":
            q, k = self.rms_norm(q, prefix + n["q_norm"]), self.rms_norm(k, prefix + n["k_norm"])
            inside.update({"q_norm": flat(q), "k_norm": flat(k)})
        cos, sin = self.rope_rows(torch.arange(rows))
        half = self.head_dim // 2
        turned = lambda t: torch.cat([-t[..., half:], t[..., :half]], -1)
        rotate = lambda t: t * cos[:, None] + turned(t) * sin[:, None]
        group = self.heads // self.kv_heads
        q, k, v = rotate(q), rotate(k).repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / self.head_dim**0.5
        scores = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        return self.linear(torch.einsum("hqk,khd->qhd", scores, v).reshape(rows, -1), prefix + n["o"])

    def forward(self, ids, block="own", inside=None):
        """Logits [L, V] of the ids at positions 0..L-1. `block`: "own" (the family's), None (all see all), or a size."""
        inside = {} if inside is None else inside
        if block == "own":
            block = self.block if self.causal else None
        ids, n = torch.as_tensor(ids), self.names
        number = torch.arange(len(ids)) // (block or len(ids))
        mask = number[None, :] <= number[:, None]
        x = self.weight(n["embed"])[ids].float()
        inside["embed"] = x[None]
        for i in range(self.layers):
            prefix, part = f"{n['block']}{i}.", {}
            h = self.rms_norm(x, prefix + n["norm1"])
            attended = self.attention(h, prefix, mask, part)
            x = x + attended
            h2 = self.rms_norm(x, prefix + n["norm2"])
            mlp = self.linear(F.silu(self.linear(h2, prefix + n["gate"])) * self.linear(h2, prefix + n["up"]), prefix + n["down"])
            x = x + mlp
            inside[f"layer{i}"] = x[None]
            if i == 0:
                part.update({"input_norm": h[None], "o_proj": attended[None], "post_norm": h2[None], "mlp": mlp[None]})
                inside.update({f"l0.{name}": value for name, value in part.items()})
        x = self.rms_norm(x, n["norm"])
        inside["final_norm"] = x[None]
        logits = self.linear(x, n["embed"] if self.tied else n["head"])
        inside["logits"] = logits[None]
        return logits


class Trace:
    """The token states of one decoding run, in the shape of golden.json's `traces`."""

    def __init__(self, mask):
        self.mask, self.states, self.forwards = mask, [], []

    def call(self, x, q_len, past_len=0, **described):
        """Notes the state before a forward pass."""
        self.states.append(list(x))
        self.forwards.append({"batch": 1, "q_len": q_len, "past_len": past_len, **described})

    def finish(self, x):
        self.states.append(list(x))
        width = max(map(len, self.states))
        pairs = zip(self.states, self.states[1:])
        revealed = [sum(a == self.mask and b != self.mask for a, b in zip(old, new)) for old, new in pairs]
        padded = [[state + [-1] * (width - len(state))] for state in self.states]
        return {"num_forwards": len(self.forwards), "final_ids": [list(x)], "tokens_revealed_per_step": revealed,
                "forwards": self.forwards}, torch.tensor(padded)


def counts(total, steps):
    """`total` split into `steps` shares that differ by at most 1, the larger ones first."""
    return [total // steps + (i < total % steps) for i in range(steps)]


def best(confidence, positions, k):
    """The k positions of the highest confidence; ties go to the lowest."""
    return sorted(positions, key=lambda i: (-float(confidence[i]), i))[:k]


def reveal(x, tokens, positions, mask):
    for i in positions:
        if int(tokens[i]) == mask:
            raise ValueError("the likeliest token is the mask itself, which no engine may produce")
        x[i] = int(tokens[i])


def shifted(rows):
    return torch.cat([rows[:1], rows[:-1]])


def llada_generate(model, prompt, mask, steps, gen_length, block_length, **_):
    """Section 4.1."""
    x, trace, per_block = prompt + [mask] * gen_length, Trace(mask), steps // (gen_length // block_length)
    for start in range(len(prompt), len(x), block_length):
        end = start + block_length
        for count in counts(x[start:end].count(mask), per_block):
            trace.call(x, len(x))
            p, tokens = model.forward(x).softmax(-1).max(-1)
            reveal(x, tokens, best(p, [i for i in range(end) if x[i] == mask], count), mask)
    return trace.finish(x)


def dream_generate(model, prompt, mask, max_new_tokens, steps, alg, eps, **_):
    """Section 4.3, the entropy, margin and probability rules."""
    x, trace = prompt + [mask] * max_new_tokens, Trace(mask)
    times = torch.linspace(1, eps, steps + 1)
    for i in range(steps):
        trace.call(x, len(x))
        p = shifted(model.forward(x)).softmax(-1)
        top, tokens = p.max(-1)
        if alg == "entropy":
            top = (p * torch.log(p + 1e-10)).sum(-1)
        elif alg == "topk_margin":
            two = p.topk(2, -1).values
            top = two[:, 0] - two[:, 1]
        masks = [j for j, id in enumerate(x) if id == mask]
        share = 1 - times[i + 1] / times[i] if i < steps - 1 else 1
        reveal(x, tokens, best(top, masks, int(len(masks) * share)), mask)
    return trace.finish(x)


def sdar_generate(model, prompt, mask, gen_length, block_length, denoising_steps, threshold, **_):
    """Section 4.5, evaluation version. Cached and uncached block-causal passes are equal, so nothing is cached here."""
    b, trace = block_length, Trace(mask)
    x = prompt + [mask] * (-(-(len(prompt) + gen_length) // b) * b - len(prompt))
    first = len(prompt) // b * b
    if first:
        trace.call(x, first, store_kv=True)
    for start in range(first, len(x), b):
        end = start + b
        for count in counts(b, denoising_steps):
            masks = [i for i in range(start, end) if x[i] == mask]
            if not masks:
                break
            trace.call(x, b, start, store_kv=False)
            p, tokens = model.forward(x[:end], b).softmax(-1).max(-1)
            sure = [i for i in masks if p[i] > threshold]
            reveal(x, tokens, sure if threshold < 1 and len(sure) >= count else best(p, masks, count), mask)
        trace.call(x, b, start, store_kv=True)
    return trace.finish(x)


def fast_dllm_v2_generate(model, prompt, mask, stop_token, max_new_tokens, block_size, small_block_size, threshold, **_):
    """Section 4.6 without the sub-block cache."""
    B, S, P, x, trace = block_size, small_block_size, len(prompt), list(prompt), Trace(mask)
    if P == B:
        raise ValueError("the reference ignores a prompt of exactly one block")
    if P > B:
        full = P // B * B
        trace.call(x, full, update_past_key_values=True)
        if P % B == 0:
            x.append(int(model.forward(x, B)[-1].argmax()))

    def stopped(known):
        return stop_token in x[P:] and mask not in x[known : P + x[P:].index(stop_token)]

    for _block in range(max_new_tokens // B):
        if stop_token in x[P:]:
            break
        known = len(x)
        x += [mask] * (B - known % B)
        start = len(x) - B
        for sub in range(start, len(x), S):
            while mask in x[sub : sub + S] and not stopped(known):
                trace.call(x, B, start, update_past_key_values=False)
                p, tokens = shifted(model.forward(x, B)[start:]).softmax(-1).max(-1)
                masks = [i - start for i in range(sub, sub + S) if x[i] == mask]
                chosen = {*best(p, masks, 1), *(i for i in masks if p[i] > threshold)}
                block = x[start:]
                reveal(block, tokens, chosen, mask)
                x[start:] = block
        if stopped(known):
            break
        trace.call(x, B, start, update_past_key_values=True)
        x.append(int(model.forward(x, B)[-1].argmax()))
    if stop_token in x[P:]:
        x = x[: P + x[P:].index(stop_token) + 1]
    return trace.finish(x)


GENERATE = {
    "llada.generate (original repository)": llada_generate,
    "dream.diffusion_generate": dream_generate,
    "sdar.block_diffusion_generate (evaluation version)": sdar_generate,
    "fast_dllm_v2.generate": fast_dllm_v2_generate,
}


def run_trace(model, function, params, prompt):
    arguments = {key: value for key, value in params.items() if key not in ("mask_id", "mask_token_id")}
    mask = params.get("mask_id", params.get("mask_token_id"))
    return GENERATE[function](model, list(prompt), mask, **arguments)
