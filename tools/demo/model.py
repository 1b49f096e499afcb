"""The transformer of SDAR and LLaDA in a hundred lines, for training only: diffulex is what runs it."""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


@dataclass
class Shape:
    family: str  # "sdar" or "llada"
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    theta: float
    eps: float
    tied: bool
    block: int = 8
    context: int = 1024


def sdar(vocab):
    return Shape("sdar", vocab, hidden=192, layers=5, heads=6, kv_heads=2, head_dim=32, ffn=576, theta=1e6, eps=1e-6, tied=True)


def llada(vocab):
    return Shape("llada", vocab, hidden=192, layers=5, heads=6, kv_heads=6, head_dim=32, ffn=576, theta=5e5, eps=1e-5, tied=False)


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        # One product for q, k and v, and one for gate and up: they are taken apart when the weights are written.
        self.qkv = nn.Linear(s.hidden, q + 2 * kv, bias=False)
        self.out = nn.Linear(q, s.hidden, bias=False)
        self.gate_up = nn.Linear(s.hidden, 2 * s.ffn, bias=False)
        self.down = nn.Linear(s.ffn, s.hidden, bias=False)
        self.attn_norm, self.mlp_norm = Norm(s.hidden, s.eps), Norm(s.hidden, s.eps)
        if s.family == "sdar":
            self.q_norm, self.k_norm = Norm(s.head_dim, s.eps), Norm(s.head_dim, s.eps)

    def forward(self, x, rope, visible):
        s, (rows, length, _) = self.s, x.shape
        q, k, v = self.qkv(self.attn_norm(x)).split([s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim], -1)
        q, k, v = (t.view(rows, length, -1, s.head_dim) for t in (q, k, v))
        if s.family == "sdar":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, rope), rotate(k, rope)
        groups = s.heads // s.kv_heads
        k, v = (t.repeat_interleave(groups, 2).transpose(1, 2) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=visible)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, -1))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, rope):
    cos, sin = rope
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        s = self.shape = shape
        self.embed = nn.Embedding(s.vocab, s.hidden)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = Norm(s.hidden, s.eps)
        self.head = nn.Linear(s.hidden, s.vocab, bias=False)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=s.hidden**-0.5)
        nn.init.normal_(self.embed.weight, std=0.5 if not s.tied else s.hidden**-0.5)
        for block in self.blocks:
            block.out.weight.data.mul_((2 * s.layers) ** -0.5)
            block.down.weight.data.mul_((2 * s.layers) ** -0.5 * (s.hidden / s.ffn) ** 0.5)
        if s.tied:
            self.head.weight = self.embed.weight

    def forward(self, ids, positions, visible, wanted):
        """Logits of the rows that `wanted` (bool) selects; `visible` is [rows, queries, keys]."""
        s = self.shape
        frequency = s.theta ** (-torch.arange(0, s.head_dim, 2) / s.head_dim)
        angles = positions.unsqueeze(-1).float() * frequency
        rope = angles.cos().unsqueeze(2), angles.sin().unsqueeze(2)
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, rope, visible.unsqueeze(1))
        return self.head(self.norm(x[wanted]))


def tensors(model):
    """Weights under the names of the published checkpoints."""
    s, found = model.shape, {}
    kv, q = s.kv_heads * s.head_dim, s.heads * s.head_dim
    names = NAMES[s.family]
    for i, block in enumerate(model.blocks):
        parts = dict(zip("qkv", block.qkv.weight.split([q, kv, kv])))
        parts["gate"], parts["up"] = block.gate_up.weight.chunk(2)
        parts |= {"out": block.out.weight, "down": block.down.weight}
        parts |= {"attn_norm": block.attn_norm.weight, "mlp_norm": block.mlp_norm.weight}
        if s.family == "sdar":
            parts |= {"q_norm": block.q_norm.weight, "k_norm": block.k_norm.weight}
        for part, weight in parts.items():
            found[names["block"].format(i) + names[part]] = weight
    found[names["embed"]], found[names["norm"]] = model.embed.weight, model.norm.weight
    if not s.tied:
        found[names["head"]] = model.head.weight
    return {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in found.items()}


NAMES = {
    "sdar": {
        "block": "model.layers.{}.", "embed": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight",
        "q": "self_attn.q_proj.weight", "k": "self_attn.k_proj.weight", "v": "self_attn.v_proj.weight", "out": "self_attn.o_proj.weight",
        "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
        "gate": "mlp.gate_proj.weight", "up": "mlp.up_proj.weight", "down": "mlp.down_proj.weight",
        "attn_norm": "input_layernorm.weight", "mlp_norm": "post_attention_layernorm.weight",
    },
    "llada": {
        "block": "model.transformer.blocks.{}.", "embed": "model.transformer.wte.weight", "norm": "model.transformer.ln_f.weight",
        "head": "model.transformer.ff_out.weight",
        "q": "q_proj.weight", "k": "k_proj.weight", "v": "v_proj.weight", "out": "attn_out.weight",
        "gate": "ff_proj.weight", "up": "up_proj.weight", "down": "ff_out.weight",
        "attn_norm": "attn_norm.weight", "mlp_norm": "ff_norm.weight",
    },
}  # fmt: skip


def config(s, ids):
    """config.json and generation_config.json; `ids` has end, turn_end and mask."""
    if s.family == "sdar":
        model = {
            "architectures": ["SDARForCausalLM"], "model_type": "sdar", "attention_bias": False, "block_size": s.block,
            "bos_token_id": ids["end"], "eos_token_id": ids["end"], "pad_token_id": ids["end"], "mask_token_id": ids["mask"],
            "head_dim": s.head_dim, "hidden_act": "silu", "hidden_size": s.hidden, "intermediate_size": s.ffn,
            "max_position_embeddings": s.context, "num_attention_heads": s.heads, "num_hidden_layers": s.layers,
            "num_key_value_heads": s.kv_heads, "rms_norm_eps": s.eps, "rope_scaling": None, "rope_theta": int(s.theta),
            "sliding_window": None, "tie_word_embeddings": s.tied, "torch_dtype": "bfloat16", "use_sliding_window": False,
            "vocab_size": s.vocab,
        }  # fmt: skip
    else:
        model = {
            "architectures": ["LLaDAModelLM"], "model_type": "llada", "activation_type": "silu", "alibi": False,
            "attention_layer_norm": False, "block_type": "llama", "d_model": s.hidden, "embedding_size": s.vocab,
            "eos_token_id": ids["end"], "pad_token_id": ids["end"], "mask_token_id": ids["mask"], "include_bias": False,
            "include_qkv_bias": False, "layer_norm_type": "rms", "max_sequence_length": s.context, "mlp_hidden_size": s.ffn,
            "mlp_ratio": 3, "multi_query_attention": None, "n_heads": s.heads, "n_kv_heads": s.kv_heads, "n_layers": s.layers,
            "rms_norm_eps": s.eps, "rope": True, "rope_theta": s.theta, "scale_logits": False, "torch_dtype": "bfloat16",
            "vocab_size": s.vocab, "weight_tying": s.tied,
        }  # fmt: skip
    return model, {"eos_token_id": [ids["turn_end"], ids["end"]], "pad_token_id": ids["end"], "do_sample": False}


def write(directory, model, ids):
    save_file(tensors(model), directory / "model.safetensors", metadata={"format": "pt"})
    for name, content in zip(("config.json", "generation_config.json"), config(model.shape, ids)):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n")
