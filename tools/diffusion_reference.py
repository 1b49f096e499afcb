"""The families in plain PyTorch: one forward pass, without a cache. The decoding loops are in diffusion_loops.py.

Sections are those of tests/golden/README.md. Weights keep their element type in memory; all arithmetic is float32. What a layer
has (biases, norms of heads, a fused q/k/v matrix, experts, a shared expert) is what the checkpoint has tensors for.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open

from diffusion_experts import ROUTER, Router, mixture

HF_NAMES = {
    "embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head", "block": "model.layers.",
    "norm1": "input_layernorm", "norm2": "post_attention_layernorm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm", "mlp": "mlp.",
    "gate": "gate_proj", "up": "up_proj", "down": "down_proj",
}
LLADA_NAMES = {
    "embed": "model.transformer.wte", "norm": "model.transformer.ln_f", "head": "model.transformer.ff_out",
    "block": "model.transformer.blocks.", "norm1": "attn_norm", "norm2": "ff_norm",
    "q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "attn_out", "q_norm": "q_norm", "k_norm": "k_norm", "mlp": "",
    "gate": "ff_proj", "up": "up_proj", "down": "ff_out",
}
LLADA2_NAMES = HF_NAMES | {
    "embed": "model.word_embeddings", "qkv": "attention.query_key_value", "o": "attention.dense",
    "q_norm": "attention.query_layernorm", "k_norm": "attention.key_layernorm",
}
NEMOTRON_NAMES = HF_NAMES | {
    "embed": "encoder.embed_tokens", "norm": "encoder.norm", "head": "diffusion_head", "block": "encoder.layers.",
}

# By `architectures[0]`: the family's name in recordings, names of tensors, the keys of the block size and its default (none: every
# position sees every other), the scores of a router and whether the weights of the chosen experts are normalised.
FAMILIES = {
    "SDARForCausalLM": ("sdar", HF_NAMES, ("block_size", 4), None),
    "Fast_dLLM_QwenForCausalLM": ("fdv2", HF_NAMES, ("bd_size", 32), None),
    "DreamModel": ("dream", HF_NAMES, None, None),
    "LLaDAModelLM": ("llada", LLADA_NAMES, None, None),
    "LLaDA2MoeModelLM": ("llada2", LLADA2_NAMES, ("block_size", 32), ("sigmoid", True)),
    "SDARMoeForCausalLM": ("sdar_moe", HF_NAMES, ("block_size", 4), ("softmax", "norm_topk_prob")),
    "LLaDAMoEModelLM": ("llada_moe", HF_NAMES, None, ("softmax", False)),
    "A2DQwen2LMHeadModel": ("a2d", HF_NAMES, None, None),
    "A2DQwen3LMHeadModel": ("a2d", HF_NAMES, None, None),
    "A2DLlamaLMHeadModel": ("a2d", HF_NAMES, None, None),
    "StableDiffcoderForCausalLM": ("stable", HF_NAMES, ("block_size", 4), None),
    "NemotronLabsDiffusionModel": ("nemotron", NEMOTRON_NAMES, None, None),
}


class Model:
    """A checkpoint and its forward pass. Shapes: L tokens, D hidden, H heads, K key/value heads, h head_dim, r of which rotate."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.config = config = json.loads((self.dir / "config.json").read_text())
        architecture = config["architectures"][0]
        if architecture not in FAMILIES:
            sys.exit(f"{architecture} is not supported; known: {', '.join(FAMILIES)}")
        self.family, self.names, block, router = FAMILIES[architecture]
        self.tensors = self.open_weights()
        llada, get = self.family == "llada", config.get
        self.layers = config["n_layers" if llada else "num_hidden_layers"]
        self.hidden = config["d_model" if llada else "hidden_size"]
        self.heads = config["n_heads" if llada else "num_attention_heads"]
        self.kv_heads = get("n_kv_heads" if llada else "num_key_value_heads") or (1 if get("multi_query_attention") else self.heads)
        self.head_dim = get("head_dim") or self.hidden // self.heads
        self.eps = get("rms_norm_eps", 1e-5 if llada else 1e-6)
        self.rope = get("rope_parameters") or {}
        self.theta = float(get("rope_theta") or self.rope.get("rope_theta") or (5e5 if llada else 1e6))
        self.inv_freq = self.frequencies(int(self.head_dim * (get("partial_rotary_factor") or 1)))
        self.tied = get("weight_tying" if llada else "tie_word_embeddings", False)
        self.block = get(*block) if block else None
        if router:
            scores, normalised = router
            self.router = Router(config, scores, get(normalised) if isinstance(normalised, str) else normalised)
        self.vocab = self.weight(self.names["embed"]).shape[0]

    def open_weights(self):
        index = self.dir / "model.safetensors.index.json"
        files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
        tensors = {}
        for name in files:
            with safe_open(self.dir / name, "pt") as file:
                tensors.update({key: file.get_tensor(key) for key in file.keys()})
        return tensors

    def frequencies(self, rotated):
        """[r / 2]."""
        if self.config.get("rope_scaling"):
            sys.exit(f"{self.dir}: rope_scaling {self.config['rope_scaling']} is not supported")
        base = 1.0 / (self.theta ** (torch.arange(0, rotated, 2).float() / rotated))
        kind, get = self.rope.get("rope_type", "default"), self.rope.get
        if kind == "default":
            return base
        if kind != "yarn" or get("mscale") != get("mscale_all_dim"):
            sys.exit(f"{self.dir}: rope_parameters {self.rope} are not supported")
        length = get("original_max_position_embeddings")
        at = lambda turns: rotated * math.log(length / (2 * math.pi * turns)) / (2 * math.log(self.theta))
        low, high = max(math.floor(at(get("beta_fast", 32))), 0), min(math.ceil(at(get("beta_slow", 1))), rotated - 1)
        ramp = ((torch.arange(rotated // 2).float() - low) / (high - low or 0.001)).clamp(0, 1)
        return base / get("factor") * ramp + base * (1 - ramp)

    def weight(self, name):
        return self.tensors[name + ".weight"]

    def linear(self, x, name):
        bias = self.tensors.get(name + ".bias")
        return F.linear(x, self.weight(name).float(), None if bias is None else bias.float())

    def rms_norm(self, x, name):
        return self.weight(name).float() * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))

    def mlp(self, x, prefix):
        gate, up, down = (prefix + self.names[name] for name in ("gate", "up", "down"))
        return self.linear(F.silu(self.linear(x, gate)) * self.linear(x, up), down)

    def rope_rows(self, positions):
        """Cosines and sines [L, r]."""
        angle = positions.float()[:, None] * self.inv_freq
        return torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()

    def rotate(self, x, positions):
        cos, sin = (rows[:, None] for rows in self.rope_rows(positions))
        x, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
        first, second = x.chunk(2, -1)
        return torch.cat([x * cos + torch.cat([-second, first], -1) * sin, rest], -1)

    def projected(self, x, prefix):
        """Queries [L, H, h], keys and values [L, K, h]."""
        heads, n = [self.heads, self.kv_heads, self.kv_heads], self.names
        if "qkv" in n:
            parts = self.linear(x, prefix + n["qkv"]).split([count * self.head_dim for count in heads], -1)
        else:
            parts = [self.linear(x, prefix + n[name]) for name in "qkv"]
        return [part.reshape(len(x), count, self.head_dim) for part, count in zip(parts, heads)]

    def attention(self, x, prefix, mask, inside):
        rows, n = x.shape[0], self.names
        q, k, v = self.projected(x, prefix)
        flat = lambda t: t.reshape(1, rows, -1)
        inside.update({"q_proj": flat(q), "k_proj": flat(k), "v_proj": flat(v)})
        if f"{prefix}{n['q_norm']}.weight" in self.tensors:
            q, k = self.rms_norm(q, prefix + n["q_norm"]), self.rms_norm(k, prefix + n["k_norm"])
            inside.update({"q_norm": flat(q), "k_norm": flat(k)})
        positions, group = torch.arange(rows), self.heads // self.kv_heads
        q, k = self.rotate(q, positions), self.rotate(k, positions).repeat_interleave(group, 1)
        if beta := self.rope.get("llama_4_scaling_beta"):
            length = self.rope["original_max_position_embeddings"]
            q = q * (1 + beta * torch.log(1 + (positions // length).float()))[:, None, None]
        scores = torch.einsum("qhd,khd->hqk", q, k) / self.head_dim**0.5
        scores = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        attended = torch.einsum("hqk,khd->qhd", scores, v.repeat_interleave(group, 1))
        return self.linear(attended.reshape(rows, -1), prefix + n["o"])

    def mask(self, rows, rule):
        """Whether a query (row) sees a key (column). `rule`: "own" (the family's), None (all see all), "causal", the size of blocks that
        begin at position 0, or for every position the number of its block."""
        if rule == "own":
            rule = self.block
        block = torch.arange(rows)
        if rule is None:
            block = torch.zeros(rows)
        elif isinstance(rule, int):
            block = block // rule
        elif rule != "causal":
            block = torch.as_tensor(rule)
        return block[None, :] <= block[:, None]

    def describe(self, rule):
        """The words for a rule in recordings."""
        rule = self.block if rule == "own" else rule
        return "causal" if rule == "causal" else f"block-causal, block {rule}" if rule else "full bidirectional"

    def forward(self, ids, rule="own", inside=None, hidden_keys=None):
        """Logits [L, V] of the ids at positions 0..L-1. `rule` as in `mask`; `hidden_keys`: which positions no row sees."""
        inside = {} if inside is None else inside
        ids, n = torch.as_tensor(ids), self.names
        mask = self.mask(len(ids), rule)
        if hidden_keys is not None:
            mask = mask & ~hidden_keys[None, :] | torch.eye(len(ids), dtype=torch.bool)
        x = self.weight(n["embed"])[ids].float()
        inside["embed"] = x[None]
        for i in range(self.layers):
            prefix, part = f"{n['block']}{i}.", {}
            h = self.rms_norm(x, prefix + n["norm1"])
            attended = self.attention(h, prefix, mask, part)
            x = x + attended
            h2 = self.rms_norm(x, prefix + n["norm2"])
            sparse = f"{prefix}{ROUTER}.weight" in self.tensors
            chosen = {}
            mlp = mixture(self, h2, prefix, chosen) if sparse else self.mlp(h2, prefix + n["mlp"])
            x = x + mlp
            inside[f"layer{i}"] = x[None]
            if i == 0:
                part.update({"input_norm": h[None], "o_proj": attended[None], "post_norm": h2[None], "mlp": mlp[None]})
                inside.update({f"l0.{name}": value for name, value in part.items()})
            if sparse:
                chosen.update({"post_norm": h2[None], "mlp": mlp[None]})
                inside.update({f"l{i}.{name}": value for name, value in chosen.items()})
        x = self.rms_norm(x, n["norm"])
        inside["final_norm"] = x[None]
        logits = self.linear(x, n["embed"] if self.tied else n["head"])
        inside["logits"] = logits[None]
        return logits

    def sparse_layers(self):
        return [i for i in range(self.layers) if f"{self.names['block']}{i}.{ROUTER}.weight" in self.tensors]
