"""The decoding loops that the families are published with, greedy and without caches.

Sections are those of tests/golden/README.md.
"""

import torch


class Trace:
    """The token states of one decoding run, in the form of golden.json's `traces`."""

    def __init__(self, mask):
        self.mask, self.states, self.forwards = mask, [], []

    def call(self, x, q_len, past_len=0, **described):
        """Records the state before a forward pass."""
        self.states.append(list(x))
        self.forwards.append({"batch": 1, "q_len": q_len, "past_len": past_len, **described})

    def finish(self, x, **more):
        """`x` is what the loop returns; `more` are entries that only this loop has."""
        self.states.append(list(x))
        width = max(map(len, self.states))
        pairs = zip(self.states, self.states[1:])
        revealed = [sum(a == self.mask and b != self.mask for a, b in zip(old, new)) for old, new in pairs]
        padded = [[state + [-1] * (width - len(state))] for state in self.states]
        return {"num_forwards": len(self.forwards), "final_ids": [list(x)], "tokens_revealed_per_step": revealed,
                "forwards": self.forwards, **more}, torch.tensor(padded)


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


def masked(x, mask, start=0, end=None):
    return [i for i in range(start, len(x) if end is None else end) if x[i] == mask]


def guided(model, x, given, mask, scale, rule="own"):
    """Logits, with guidance away from those of the same tokens whose `given` ones are masked."""
    logits = model.forward(x, rule)
    if not scale:
        return logits
    free = model.forward([mask if i in given else id for i, id in enumerate(x)], rule)
    return free + (scale + 1) * (logits - free)


def sure_or_best(p, masks, threshold):
    """The most probable mask, and all others that reach the threshold."""
    return {*best(p, masks, 1), *(i for i in masks if p[i] >= threshold)}


def llada_generate(model, prompt, mask, steps, gen_length, block_length, cfg_scale=0.0, **_):
    """Section 4.1."""
    x, trace, per_block = prompt + [mask] * gen_length, Trace(mask), steps // (gen_length // block_length)
    for start in range(len(prompt), len(x), block_length):
        end = start + block_length
        for count in counts(x[start:end].count(mask), per_block):
            trace.call(x, len(x), batch=2 if cfg_scale else 1)
            p, tokens = guided(model, x, range(len(prompt)), mask, cfg_scale).softmax(-1).max(-1)
            reveal(x, tokens, best(p, masked(x, mask, 0, end), count), mask)
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
            masks = masked(x, mask, start, end)
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


def cut(ids, eos):
    """`ids` up to the first end token, inclusive."""
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def llada2_canvas(prompt, mask, gen_length, block_length):
    """The prompt and masks up to the end of a block, and where the blocks with masks begin."""
    total = -(-(len(prompt) + gen_length) // block_length) * block_length
    return prompt + [mask] * (total - len(prompt)), range(len(prompt) // block_length * block_length, total, block_length)


def llada2_finish(trace, x, prompt, gen_length, eos):
    P = len(prompt)
    return trace.finish(prompt + cut(x[P : P + gen_length], eos), final_canvas=list(x))


def llada2_0_generate(model, prompt, mask, eos_id, gen_length=2048, block_length=32, steps=32, threshold=0.95, minimal_topk=1,
                      eos_early_stop=False, **_):
    """Section 7.4.1."""
    x, starts = llada2_canvas(prompt, mask, gen_length, block_length)
    P, trace = len(prompt), Trace(mask)
    for start in starts:
        end = start + block_length
        for count in counts(block_length, min(steps, gen_length // minimal_topk)):
            masks = masked(x, mask, start, end)
            if not masks:
                break
            trace.call(x, end)
            p, tokens = model.forward(x[:end], block_length).softmax(-1).max(-1)
            sure = [i for i in masks if p[i] > threshold]
            chosen = sure if len(sure) >= count else best(p, masks, count)
            reveal(x, tokens, chosen, mask)
            # Of the whole window, prompt included.
            if eos_early_stop and any(x[i] == eos_id for i in chosen) and not masked(x, mask, P, x.index(eos_id)):
                return llada2_finish(trace, x, prompt, gen_length, eos_id)
        if eos_id in x[P:end]:
            break
    return llada2_finish(trace, x, prompt, gen_length, eos_id)


def llada2_1_generate(model, prompt, mask, eos_id, gen_length, block_length=32, threshold=0.95, editing_threshold=0.9,
                      max_post_steps=16, num_to_transfer=1, eos_early_stop=False, **_):
    """Section 7.4.2."""
    x, starts = llada2_canvas(prompt, mask, gen_length, block_length)
    P, trace = len(prompt), Trace(mask)
    for start in starts:
        end, post = start + block_length, 0
        while True:
            masks = masked(x, mask, start, end)
            post += not masks
            if post > max_post_steps:
                break
            trace.call(x, end)
            p, tokens = model.forward(x[:end], block_length).softmax(-1).max(-1)
            sure = [i for i in masks if p[i] > threshold]
            chosen = sure if len(sure) >= num_to_transfer else best(p, masks, num_to_transfer)
            known = [i for i in range(max(start, P), end) if x[i] != mask]
            edits = [i for i in known if p[i] > editing_threshold and int(tokens[i]) != x[i]]
            reveal(x, tokens, chosen + edits, mask)
            if not masks and not edits:
                break
        if eos_early_stop and eos_id in x[P:end] and not masked(x, mask, P, end):
            break
    found, states = llada2_finish(trace, x, prompt, gen_length, eos_id)
    edited = [sum(a not in (mask, b) for a, b in zip(old, new)) for old, new in zip(trace.states, trace.states[1:])]
    return {**found, "tokens_edited_per_step": edited}, states


def dllm_counts(masks, steps):
    """Section 7.4.5: how many of the masks each step reveals; steps that reveal none are left out."""
    share = lambda i: torch.tensor(i, dtype=torch.float32) / steps
    found = []
    for j in range(steps, 0, -1):
        left = float((1 - (1 - share(j - 1))) / (1 - (1 - share(j))))
        count = min(round(masks * (1 - left)), masks)
        masks -= count
        found += [count] if count else []
        if not masks:
            break
    return found


def mdlm_sample(model, prompt, mask, max_new_tokens=128, block_size=128, steps=128, cfg_scale=0.0, right_shift_logits=False, **_):
    """Section 7.4.5, one row."""
    x, P, trace = prompt + [mask] * max_new_tokens, len(prompt), Trace(mask)
    per_block = -(-steps // -(-max_new_tokens // block_size))
    given = [i for i in range(P) if x[i] != mask]
    for start in range(P, len(x), block_size):
        end = min(start + block_size, len(x))
        for count in dllm_counts(len(masked(x, mask, start, end)), per_block):
            trace.call(x, len(x), batch=2 if cfg_scale else 1)
            logits = guided(model, x, given, mask, cfg_scale, None)
            p, tokens = (shifted(logits) if right_shift_logits else logits).softmax(-1).max(-1)
            reveal(x, tokens, best(p, masked(x, mask, 0, end), count), mask)
    return trace.finish(x)


def mdlm_infill(model, prompt, mask, steps, block_size, **_):
    """Section 7.4.5."""
    x, trace = list(prompt), Trace(mask)
    per_window = -(-steps // -(-len(x) // block_size))
    for start in range(0, len(x), block_size):
        end = min(start + block_size, len(x))
        for count in dllm_counts(len(masked(x, mask, start, end)), per_window):
            trace.call(x, len(x))
            p, tokens = model.forward(x, None).softmax(-1).max(-1)
            reveal(x, tokens, best(p, masked(x, mask, start, end), count), mask)
    return trace.finish(x)


def bd3lm_sample(model, prompt, mask, eos_id, max_new_tokens=128, block_size=32, steps=128, steps_per_block=None, cfg_scale=0.0,
                 right_shift_logits=False, **_):
    """Section 7.4.5. The grid of blocks ends where the prompt ends."""
    x, P, trace = list(prompt), len(prompt), Trace(mask)
    offset = -P % block_size
    given = [i for i in range(P) if x[i] != mask]
    per_block = steps_per_block or -(-steps // -(-max_new_tokens // block_size))

    def logits(x):
        return guided(model, x, given, mask, cfg_scale, [(i + offset) // block_size for i in range(len(x))])

    def note(q_len, past_len):
        for _ in range(2 if cfg_scale else 1):
            trace.call(x, q_len, past_len)

    while len(x) < P + max_new_tokens:
        start = len(x)
        note(start + offset, 0)
        last = logits(x)[-1:]
        x += [mask] * min(block_size, P + max_new_tokens - start)
        for count in dllm_counts(len(x) - start, per_block):
            note(len(x) - start, start + offset)
            rows = logits(x)
            if right_shift_logits:
                rows = torch.cat([rows[:start], last, rows[start:-1]])
            p, tokens = rows.softmax(-1).max(-1)
            reveal(x, tokens, best(p, masked(x, mask, start), count), mask)
        if eos_id in x[start:]:
            break
    return trace.finish(x, grid_offset=offset)


def stable_diffcoder_generate(model, prompt, mask, eos_id, gen_length=128, block_length=4, steps=128, threshold=0.95, **_):
    """Section 7.4.6. The last block is short if the prompt does not end with a block."""
    b, P, trace = block_length, len(prompt), Trace(mask)
    x = prompt + [mask] * gen_length
    first = P // b * b
    if first:
        trace.call(x, first)
    for start in range(first, len(x), b):
        end = min(start + b, len(x))
        for count in filter(None, counts(len(masked(x, mask, start, end)), steps // (gen_length // b))):
            trace.call(x, end - start, start)
            p, tokens = model.forward(x[:end], b).double().softmax(-1).max(-1)
            masks = masked(x, mask, start, end)
            reveal(x, tokens, best(p, masks, count) if threshold is None else sure_or_best(p, masks, threshold), mask)
            if not masked(x, mask, start, end):
                break
        generated = max(start, P)
        if eos_id in x[generated:end]:
            at = x.index(eos_id, generated)
            return trace.finish(x[:at] + [eos_id] * (end - at))
        trace.call(x, end - start, start)
    return trace.finish(x)


def nemotron_generate(model, prompt, mask, eos_token_id, max_new_tokens, block_length, threshold=0.9, causal_context=True, **_):
    """Section 7.4.7. With a causal context the pass that stores a block also gives the first token of the next one."""
    b, P, trace = block_length, len(prompt), Trace(mask)
    x = list(prompt)

    def store(q_len, past_len):
        trace.call(x, q_len, past_len)
        return int(model.forward(x, "causal")[-1].argmax()) if causal_context else None

    seed = store(P, 0)
    while len(x) < P + max_new_tokens:
        start = len(x)
        x += [mask] * b
        if causal_context:
            x[start] = seed
        # The block sees itself; what is stored before it was computed causally, or by blocks.
        rule = [min(i, start) if causal_context else max(0, (i - P) // b + 1) for i in range(len(x))]
        for count in counts(len(masked(x, mask, start)), b):
            masks = masked(x, mask, start)
            if not masks:
                break
            trace.call(x, b, start)
            p, tokens = model.forward(x, rule).softmax(-1).max(-1)
            reveal(x, tokens, best(p, masks, count) if threshold is None else sure_or_best(p, masks, threshold), mask)
            if eos_token_id in x[start:] and not masked(x, mask, start, x.index(eos_token_id, start)):
                break
        seed = store(b, start)
        if eos_token_id in x[start:]:
            break
    return trace.finish(prompt + cut(x[P:], eos_token_id))


GENERATE = {
    "llada.generate (original repository)": llada_generate,
    "dream.diffusion_generate": dream_generate,
    "sdar.block_diffusion_generate (evaluation version)": sdar_generate,
    "fast_dllm_v2.generate": fast_dllm_v2_generate,
    "llada2.generate (LLaDA2.0)": llada2_0_generate,
    "llada2.generate (LLaDA2.1)": llada2_1_generate,
    "dllm.mdlm.sample": mdlm_sample,
    "dllm.mdlm.infill": mdlm_infill,
    "dllm.bd3lm.sample": bd3lm_sample,
    "stable_diffcoder.generate_block": stable_diffcoder_generate,
    "nemotron_labs_diffusion.generate": nemotron_generate,
}


def run_trace(model, function, params, prompt):
    arguments = {key: value for key, value in params.items() if key not in ("mask_id", "mask_token_id")}
    mask = params.get("mask_id", params.get("mask_token_id"))
    return GENERATE[function](model, list(prompt), mask, **arguments)
