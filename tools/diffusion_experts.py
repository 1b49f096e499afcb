"""The layers with experts of LLaDA2, SDAR-MoE and LLaDA-MoE in plain PyTorch (section 7.2 of tests/golden/README.md)."""

import torch
import torch.nn.functional as F

ROUTER, EXPERT = "mlp.gate", "mlp.experts."
# LLaDA2's and LLaDA-MoE's names for the MLP that every token goes through.
SHARED = ("mlp.shared_experts.", "shared_expert.")


class Router:
    """Which experts a token goes through, and with which weights: `scores` are "sigmoid" or "softmax" of the logits."""

    def __init__(self, config, scores, normalised):
        self.scores, self.k, self.normalised = scores, config.get("num_experts_per_tok"), normalised
        sigmoid = scores == "sigmoid"
        self.groups = config.get("n_group") or 1 if sigmoid else 1
        self.kept_groups = config.get("topk_group") or 1 if sigmoid else 1
        self.scale = config.get("routed_scaling_factor") or 1.0 if sigmoid else 1.0

    def choose(self, logits, bias, inside):
        """Ids [L, k] in the order of choice, and their weights."""
        scores = logits.sigmoid() if self.scores == "sigmoid" else logits.softmax(-1)
        inside.update({"router_logits": logits[None], "router_scores": scores[None]})
        biased = scores
        if bias is not None:
            biased = scores + bias
            inside["router_biased"] = biased[None]
        if self.groups > 1:
            grouped = biased.view(len(biased), self.groups, -1)
            kept = grouped.topk(2, -1).values.sum(-1).topk(self.kept_groups, -1).indices
            out = torch.ones(len(biased), self.groups, dtype=torch.bool).scatter(1, kept, False)
            biased = grouped.masked_fill(out[..., None], float("-inf")).flatten(1)
        ids = biased.topk(self.k, -1).indices
        weights = scores.gather(1, ids)
        if self.normalised and self.k > 1:
            weights = weights / (weights.sum(-1, keepdim=True) + (1e-20 if self.scores == "sigmoid" else 0))
        weights = weights * self.scale
        inside.update({"expert_ids": ids[None], "expert_weights": weights[None]})
        return ids, weights


def mixture(model, x, prefix, inside):
    """The rows [L, D] of a layer with experts: the weighted sum of the chosen ones, and the shared one if there is one."""
    router = model.router
    bias = model.tensors.get(f"{prefix}{ROUTER}.expert_bias")
    logits = F.linear(x, model.weight(prefix + ROUTER).float())
    ids, weights = router.choose(logits, None if bias is None else bias.float(), inside)
    parts = torch.empty(*ids.shape, x.shape[1])
    for expert in ids.unique().tolist():
        rows, ranks = (ids == expert).nonzero(as_tuple=True)
        parts[rows, ranks] = weights[rows, ranks, None] * model.mlp(x[rows], f"{prefix}{EXPERT}{expert}.")
    if router.scores == "softmax":
        # Added in the order of the experts, not of the choice.
        parts = parts.gather(1, ids.argsort(-1)[..., None].expand_as(parts))
    routed = torch.zeros_like(x)
    for rank in range(router.k):
        routed = routed + parts[:, rank]
    inside["routed"] = routed[None]
    for name in SHARED:
        if f"{prefix}{name}gate_proj.weight" in model.tensors:
            shared = model.mlp(x, prefix + name)
            inside["shared"] = shared[None]
            routed = routed + shared
    return routed
