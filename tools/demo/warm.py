"""Starts a LLaDA or LLaDA2 demo model from a trained SDAR one: most of what it has to know is the same.

Embedding, norms, values and MLPs are copied; for LLaDA key and value heads are repeated for every query head. It has no norm of
queries and keys, so that norm's weights, and the factor it has on average over a batch, go into the matrices. LLaDA2 rotates half of a
head, at every other of SDAR's frequencies; its experts are slices of SDAR's MLP.
"""

import model as models
import torch
from safetensors import safe_open


def load(model, directory):
    """The weights that `model.write` wrote, into a model of that shape."""
    with safe_open(directory / "model.safetensors", "pt") as file:
        for name, weight in models.tensors(model).items():
            weight.copy_(file.get_tensor(name))
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
        """Rows of `weight` times what the norm does to their outputs `out` on average."""
        heads = out.flatten(0, 1).unflatten(-1, (-1, s.head_dim))
        factor = torch.rsqrt(heads.square().mean(-1) + s.eps).mean(0)
        return (weight.unflatten(0, (-1, s.head_dim)) * (factor[:, None] * norm.weight)[..., None]).flatten(0, 1)

    def repeated(weight):
        return weight.unflatten(0, (-1, s.head_dim)).repeat_interleave(groups, 0).flatten(0, 1)

    for ours, theirs, product in zip(llada.blocks, sdar.blocks, products):
        (wq, wk, wv), (q, k, _) = theirs.qkv.weight.split(sizes), product.split(sizes, -1)
        wq, wk = normed(wq, q, theirs.q_norm), normed(wk, k, theirs.k_norm)
        ours.qkv.weight.copy_(torch.cat([wq, repeated(wk), repeated(wv)]))
        ours.mlp.load_state_dict(theirs.mlp.state_dict())
        for name in ("out", "attn_norm", "mlp_norm"):
            getattr(ours, name).weight.copy_(getattr(theirs, name).weight)
    llada.embed.weight.copy_(sdar.embed.weight)
    llada.head.weight.copy_(sdar.head.weight)
    llada.norm.weight.copy_(sdar.norm.weight)


@torch.no_grad()
def start_experts(llada2, sdar):
    """Fills `llada2` from `sdar`."""
    s = sdar.shape
    half, pairs = s.head_dim // 2, torch.arange(s.head_dim // 2)
    even, odd = pairs[::2], pairs[1::2]
    # Dimensions i and i + half are a pair in SDAR. The even pairs keep their frequencies, the others are no longer rotated.
    order = torch.cat([even, even + half, odd, odd + half])
    for ours, theirs in zip(llada2.blocks, sdar.blocks):
        heads = theirs.qkv.weight.unflatten(0, (-1, s.head_dim)).clone()
        turned = s.heads + s.kv_heads
        heads[:turned] = heads[:turned, order]
        ours.qkv.weight.copy_(heads.flatten(0, 1))
        ours.q_norm.weight.copy_(theirs.q_norm.weight[order])
        ours.k_norm.weight.copy_(theirs.k_norm.weight[order])
        for name in ("out", "attn_norm", "mlp_norm"):
            getattr(ours, name).weight.copy_(getattr(theirs, name).weight)
        if isinstance(ours.mlp, models.Dense):
            ours.mlp.load_state_dict(theirs.mlp.state_dict())
            continue
        e, (gate, up), down = ours.mlp.e, theirs.mlp.gate_up.weight.chunk(2), theirs.mlp.down.weight
        shared = e.shared * e.ffn
        ours.mlp.shared.gate_up.weight.copy_(torch.cat([gate[:shared], up[:shared]]))
        ours.mlp.shared.down.weight.copy_(down[:, :shared])
        # Slices of the rest, each given to several experts, which diverge in training.
        slices = (s.ffn - shared) // e.ffn
        rows = torch.cat([shared + n % slices * e.ffn + torch.arange(e.ffn) for n in range(e.count)])
        ours.mlp.all.gate_up.weight.copy_(torch.cat([gate[rows], up[rows]]))
        ours.mlp.all.down.weight.copy_(down[:, rows] * (e.per_token / e.scale))
        for weight in ours.mlp.all.parameters():
            weight.mul_(1 + 0.05 * torch.randn_like(weight))
    llada2.embed.weight.copy_(sdar.embed.weight)
    llada2.head.weight.copy_(sdar.head.weight)
    llada2.norm.weight.copy_(sdar.norm.weight)
