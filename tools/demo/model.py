"""The transformers of SDAR, LLaDA and LLaDA2 in two hundred lines, for training only: diffulex is what runs them."""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


@dataclass
class Shape:
    family: str  # "sdar", "llada" or "llada2"
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
    rotated: int = 0  # dimensions of a head that RoPE rotates; 0 is all of them
    experts: "Experts | None" = None

    @property
    def bidirectional(self):
        return self.family == "llada"

    @property
    def qk_norm(self):
        return self.family != "llada"


@dataclass
class Experts:
    """What the blocks after the first have instead of a dense feed-forward part."""

    count: int
    per_token: int
    ffn: int
    shared: int  # how many experts' width every token passes
    groups: int
    kept: int
    scale: float


def sdar(vocab):
    return Shape("sdar", vocab, hidden=192, layers=5, heads=6, kv_heads=2, head_dim=32, ffn=576, theta=1e6, eps=1e-6, tied=True)


def llada(vocab):
    return Shape("llada", vocab, hidden=192, layers=5, heads=6, kv_heads=6, head_dim=32, ffn=576, theta=5e5, eps=1e-5, tied=False)


def llada2(vocab):
    experts = Experts(count=16, per_token=4, ffn=64, shared=3, groups=4, kept=2, scale=2.5)
    return Shape(
        "llada2", vocab, hidden=192, layers=5, heads=6, kv_heads=2, head_dim=32, ffn=576, theta=1e6, eps=1e-6, tied=False, rotated=16, experts=experts
    )  # fmt: skip


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Dense(nn.Module):
    def __init__(self, s, ffn):
        super().__init__()
        # One matrix for gate and up: they are split when the weights are written.
        self.gate_up, self.down = nn.Linear(s.hidden, 2 * ffn, bias=False), nn.Linear(ffn, s.hidden, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Mixture(nn.Module):
    """Experts that a sigmoid router chooses. Here every token goes through all of them, with a weight of zero for those that were not chosen."""

    def __init__(self, s):
        super().__init__()
        self.e = e = s.experts
        self.all, self.shared = Dense(s, e.count * e.ffn), Dense(s, e.shared * e.ffn)
        self.router = nn.Linear(s.hidden, e.count, bias=False)
        # Added to the scores for the choice only. `balance` moves it so that all experts get about as many tokens.
        self.register_buffer("bias", torch.zeros(e.count))
        self.register_buffer("load", torch.zeros(e.count))

    def weights(self, x):
        e, scores = self.e, torch.sigmoid(self.router(x))
        ranked = (scores + self.bias).detach()
        groups = ranked.unflatten(-1, (e.groups, -1)).topk(2, -1).values.sum(-1)
        kept = torch.zeros_like(groups).scatter(-1, groups.topk(e.kept, -1).indices, 1.0).repeat_interleave(e.count // e.groups, -1)
        chosen = torch.zeros_like(scores).scatter(-1, ranked.masked_fill(kept == 0, -torch.inf).topk(e.per_token, -1).indices, 1.0)
        if self.training:
            self.load += chosen.flatten(0, -2).sum(0)
        weights = scores * chosen
        return weights / (weights.sum(-1, keepdim=True) + 1e-20) * e.scale

    def forward(self, x):
        gate, up = self.all.gate_up(x).chunk(2, -1)
        inner = (F.silu(gate) * up).unflatten(-1, (self.e.count, -1)) * self.weights(x).unsqueeze(-1)
        return self.all.down(inner.flatten(-2)) + self.shared(x)

    @torch.no_grad()
    def balance(self, rate=1e-3):
        self.bias += rate * torch.sign(self.load.mean() - self.load)
        self.load.zero_()


class Block(nn.Module):
    def __init__(self, s, sparse):
        super().__init__()
        self.s = s
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        self.qkv = nn.Linear(s.hidden, q + 2 * kv, bias=False)
        self.out = nn.Linear(q, s.hidden, bias=False)
        self.mlp = Mixture(s) if sparse else Dense(s, s.ffn)
        self.attn_norm, self.mlp_norm = Norm(s.hidden, s.eps), Norm(s.hidden, s.eps)
        if s.qk_norm:
            self.q_norm, self.k_norm = Norm(s.head_dim, s.eps), Norm(s.head_dim, s.eps)

    def forward(self, x, rope, visible):
        s, (rows, length, _) = self.s, x.shape
        q, k, v = self.qkv(self.attn_norm(x)).split([s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim], -1)
        q, k, v = (t.view(rows, length, -1, s.head_dim) for t in (q, k, v))
        if s.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, rope), rotate(k, rope)
        groups = s.heads // s.kv_heads
        k, v = (t.repeat_interleave(groups, 2).transpose(1, 2) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=visible)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, -1))
        return x + self.mlp(self.mlp_norm(x))


def rotate(x, rope):
    cos, sin = rope
    half = cos.shape[-1]
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1)


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        s = self.shape = shape
        self.embed = nn.Embedding(s.vocab, s.hidden)
        # The first block is dense.
        self.blocks = nn.ModuleList(Block(s, s.experts is not None and i > 0) for i in range(s.layers))
        self.norm = Norm(s.hidden, s.eps)
        self.head = nn.Linear(s.hidden, s.vocab, bias=False)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=s.hidden**-0.5)
        nn.init.normal_(self.embed.weight, std=0.5 if not s.tied else s.hidden**-0.5)
        for block in self.blocks:
            block.out.weight.data.mul_((2 * s.layers) ** -0.5)
            for part in block.mlp.modules():
                if isinstance(part, Dense):
                    part.down.weight.data.mul_((2 * s.layers) ** -0.5 * (s.hidden / s.ffn) ** 0.5)
        if s.tied:
            self.head.weight = self.embed.weight

    def forward(self, ids, positions, visible, wanted):
        """Logits of the rows that `wanted` (bool) selects; `visible` is [rows, queries, keys]."""
        s = self.shape
        rotated = s.rotated or s.head_dim
        frequency = s.theta ** (-torch.arange(0, rotated, 2) / rotated)
        angles = positions.unsqueeze(-1).float() * frequency
        rope = angles.cos().unsqueeze(2), angles.sin().unsqueeze(2)
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, rope, visible.unsqueeze(1))
        return self.head(self.norm(x[wanted]))


def tensors(model):
    """The model's weights, or parts of them in place, under the names of the published checkpoints."""
    s, found = model.shape, {}
    kv, q = s.kv_heads * s.head_dim, s.heads * s.head_dim
    names = NAMES[s.family]

    def dense(mlp, prefix):
        gate, up = mlp.gate_up.weight.chunk(2)
        found.update({prefix + names["gate"]: gate, prefix + names["up"]: up, prefix + names["down"]: mlp.down.weight})

    for i, block in enumerate(model.blocks):
        prefix = names["block"].format(i)
        parts = {"qkv": block.qkv.weight} if "qkv" in names else dict(zip("qkv", block.qkv.weight.split([q, kv, kv])))
        parts |= {"out": block.out.weight, "attn_norm": block.attn_norm.weight, "mlp_norm": block.mlp_norm.weight}
        if s.qk_norm:
            parts |= {"q_norm": block.q_norm.weight, "k_norm": block.k_norm.weight}
        found |= {prefix + names[part]: weight for part, weight in parts.items()}
        if isinstance(block.mlp, Dense):
            dense(block.mlp, prefix + names["mlp"])
            continue
        mlp, prefix = block.mlp, prefix + names["mlp"]
        found |= {f"{prefix}gate.weight": mlp.router.weight, f"{prefix}gate.expert_bias": mlp.bias}
        dense(mlp.shared, f"{prefix}shared_experts.")
        gates, ups = (part.chunk(mlp.e.count) for part in mlp.all.gate_up.weight.chunk(2))
        for e, (gate, up, down) in enumerate(zip(gates, ups, mlp.all.down.weight.chunk(mlp.e.count, 1))):
            for part, weight in (("gate", gate), ("up", up), ("down", down)):
                found[f"{prefix}experts.{e}.{names[part]}"] = weight
    found[names["embed"]], found[names["norm"]] = model.embed.weight, model.norm.weight
    if not s.tied:
        found[names["head"]] = model.head.weight
    return {name: weight.detach() for name, weight in found.items()}


NAMES = {
    "sdar": {
        "block": "model.layers.{}.", "embed": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight",
        "q": "self_attn.q_proj.weight", "k": "self_attn.k_proj.weight", "v": "self_attn.v_proj.weight", "out": "self_attn.o_proj.weight",
        "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
        "mlp": "mlp.", "gate": "gate_proj.weight", "up": "up_proj.weight", "down": "down_proj.weight",
        "attn_norm": "input_layernorm.weight", "mlp_norm": "post_attention_layernorm.weight",
    },
    "llada": {
        "block": "model.transformer.blocks.{}.", "embed": "model.transformer.wte.weight", "norm": "model.transformer.ln_f.weight",
        "head": "model.transformer.ff_out.weight",
        "q": "q_proj.weight", "k": "k_proj.weight", "v": "v_proj.weight", "out": "attn_out.weight",
        "mlp": "", "gate": "ff_proj.weight", "up": "up_proj.weight", "down": "ff_out.weight",
        "attn_norm": "attn_norm.weight", "mlp_norm": "ff_norm.weight",
    },
    "llada2": {
        "block": "model.layers.{}.", "embed": "model.word_embeddings.weight", "norm": "model.norm.weight", "head": "lm_head.weight",
        "qkv": "attention.query_key_value.weight", "out": "attention.dense.weight",
        "q_norm": "attention.query_layernorm.weight", "k_norm": "attention.key_layernorm.weight",
        "mlp": "mlp.", "gate": "gate_proj.weight", "up": "up_proj.weight", "down": "down_proj.weight",
        "attn_norm": "input_layernorm.weight", "mlp_norm": "post_attention_layernorm.weight",
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
    elif s.family == "llada2":
        e = s.experts
        model = {
            "architectures": ["LLaDA2MoeModelLM"], "model_type": "llada2_moe", "block_size": s.block, "eos_token_id": ids["end"],
            "first_k_dense_replace": 1, "head_dim": s.head_dim, "hidden_act": "silu", "hidden_size": s.hidden, "intermediate_size": s.ffn,
            "mask_token_id": ids["mask"], "max_position_embeddings": s.context, "moe_intermediate_size": e.ffn,
            "moe_router_enable_expert_bias": True, "n_group": e.groups, "norm_head": False, "norm_softmax": False, "norm_topk_prob": True,
            "num_attention_heads": s.heads, "num_experts": e.count, "num_experts_per_tok": e.per_token, "num_hidden_layers": s.layers,
            "num_key_value_heads": s.kv_heads, "num_shared_experts": e.shared, "pad_token_id": ids["end"],
            "partial_rotary_factor": s.rotated / s.head_dim, "rms_norm_eps": s.eps, "rope_scaling": None, "rope_theta": int(s.theta),
            "rotary_dim": s.rotated, "routed_scaling_factor": e.scale, "router_dtype": "fp32", "score_function": "sigmoid",
            "tie_word_embeddings": s.tied, "topk_group": e.kept, "torch_dtype": "bfloat16", "use_bias": False, "use_qkv_bias": False,
            "use_rmsnorm": True, "use_sliding_window": False, "using_split_qkv_in_self_attention": False, "vocab_size": s.vocab,
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
    # The biases of the choice are small steps added up, which bf16 would round away.
    kept = lambda name: torch.float32 if name.endswith("expert_bias") else torch.bfloat16
    stored = {name: weight.to(kept(name)).contiguous() for name, weight in tensors(model).items()}
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    for name, content in zip(("config.json", "generation_config.json"), config(model.shape, ids)):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n")
