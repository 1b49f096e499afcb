"""Starts a LLaDA demo model from a trained SDAR one: most of what it has to know is the same.

Embedding, norms, values and MLPs are copied; key and value heads are repeated for every query head. LLaDA has no norm of queries
and keys, so that norm's weights, and the factor it has on average over a batch, go into the matrices.
"""

import model as models
import torch
from safetensors import safe_open


def load(model, directory):
    """The weights that `model.write` wrote, into a model of that shape."""
    with safe_open(directory / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name).float() for name in file.keys()}
    s, names = model.shape, models.NAMES[model.shape.family]
    with torch.no_grad():
        for i, block in enumerate(model.blocks):
            part = lambda name: stored[names["block"].format(i) + names[name]]
            block.qkv.weight.copy_(torch.cat([part("q"), part("k"), part("v")]))
            block.gate_up.weight.copy_(torch.cat([part("gate"), part("up")]))
            for name in ("out", "down"):
                getattr(block, name).weight.copy_(part(name))
            for name in ("attn_norm", "mlp_norm", *(("q_norm", "k_norm") if s.family == "sdar" else ())):
                getattr(block, name).weight.copy_(part(name))
        model.embed.weight.copy_(stored[names["embed"]])
        model.norm.weight.copy_(stored[names["norm"]])
        if not s.tied:
            model.head.weight.copy_(stored[names["head"]])
    return model


@torch.no_grad()
def start(llada, sdar, batch):
    """Fills `llada` from `sdar`; `batch` is what `sdar` computes on: ids, positions, visible, wanted."""
    products = []
    hooks = [block.qkv.register_forward_hook(lambda _m, _i, out: products.append(out)) for block in sdar.blocks]
    sdar(*batch)
    for hook in hooks:
        hook.remove()
    s = sdar.shape
    groups, sizes = s.heads // s.kv_heads, [s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim]

    def normed(weight, out, norm):
        """Rows of `weight` times what the norm does to their products `out` on average."""
        heads = out.flatten(0, 1).unflatten(-1, (-1, s.head_dim))
        factor = torch.rsqrt(heads.square().mean(-1) + s.eps).mean(0)
        return (weight.unflatten(0, (-1, s.head_dim)) * (factor[:, None] * norm.weight)[..., None]).flatten(0, 1)

    def repeated(weight):
        return weight.unflatten(0, (-1, s.head_dim)).repeat_interleave(groups, 0).flatten(0, 1)

    for ours, theirs, product in zip(llada.blocks, sdar.blocks, products):
        (wq, wk, wv), (q, k, _) = theirs.qkv.weight.split(sizes), product.split(sizes, -1)
        wq, wk = normed(wq, q, theirs.q_norm), normed(wk, k, theirs.k_norm)
        ours.qkv.weight.copy_(torch.cat([wq, repeated(wk), repeated(wv)]))
        for name in ("out", "gate_up", "down", "attn_norm", "mlp_norm"):
            getattr(ours, name).weight.copy_(getattr(theirs, name).weight)
    llada.embed.weight.copy_(sdar.embed.weight)
    llada.head.weight.copy_(sdar.head.weight)
    llada.norm.weight.copy_(sdar.norm.weight)
