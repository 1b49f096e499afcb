"""Trains a demo model and writes it in the Hugging Face layout: `python train.py sdar|llada|llada2 OUT`.

SDAR learns blocks: the clean conversation is followed by several noisy copies of the answer's blocks; a noisy block sees
itself and the clean blocks before it, which is what it will see when it decodes. LLaDA learns the whole answer, padded to a
random length, with a random share of it masked; some of its samples have gaps. LLaDA2 learns as SDAR does, and also to find wrong
tokens among the visible ones, which editing needs. `--start-from` continues a trained model with a mixture of its own; LLaDA and
LLaDA2 start from a trained SDAR (warm.py).
The run can be stopped and is resumed from OUT/state.pt.
"""

import argparse
import json
import random
import time
from pathlib import Path

import model as models
import numpy as np
import tasks
import tokenizer as tok
import torch
import torch.nn.functional as F
import warm
import words
from tokenizers import Tokenizer

COPIES = 4  # noisy copies of an SDAR answer in one pass
BATCH = 2048  # tokens in a pass
POOL = 1500  # samples that are sorted by length at a time
LEARNING_RATE, WARMUP, DECAY = 2e-3, 200, 0.35  # the last share of the steps goes linearly to zero
AGAIN_RATE = 5e-4  # of a second phase; a higher one unlearns first
AVERAGE = 0.998  # of the weights that are written
OWN_WORDS = 0.6  # share of the samples in the words of a new user, in a phase that has them
WRONG_BLOCKS, WRONG = 0.4, 0.15  # share of LLaDA2's noisy blocks that have wrong tokens, and of the shown tokens there that are wrong
EARLY = 1 / 3  # of the steps: reading and copying first
CONVERSATIONS = 0.25, 0.12  # share of the samples with turns before them, early and late


class Text:
    """Samples as ids."""

    def __init__(self, tokenizer, family, rng, block):
        self.tokenizer, self.family, self.rng, self.block = tokenizer, family, rng, block
        self.bidirectional = family == "llada"
        self.end, self.turn_end, self.mask = (tokenizer.token_to_id(t) for t in (tok.END, tok.TURN_END, tok.MASK))
        self.tasks = [task for task in tasks.MAKERS if task not in tasks.LEFT_OUT[family]]
        self.mixture, self.conversations, self.own_words = tasks.EARLY, CONVERSATIONS[0], 0.0

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def draw(self, rng):
        if rng.random() < self.own_words:
            return words.draw(rng)
        return tasks.draw(rng, {task: self.mixture[task] for task in self.tasks})

    def sample(self):
        """Ids, and whether each may be masked."""
        sample = tasks.training(self.rng, self.draw, self.conversations)
        if sample.text:
            ids = self.encode("".join(sample.text))
            return ids, [True] * len(ids)
        prompt, answer = (self.encode(text) for text in tok.chat(sample.turns))
        ids = prompt + answer + [self.turn_end]
        if self.bidirectional:
            lengths = [n for n in (16, 24, 32, 48, 64, 96) if n >= len(ids) - len(prompt)]
            ids += [self.end] * (self.rng.choice(lengths[:3]) - (len(ids) - len(prompt)))
        else:
            ids += [self.end] * (-len(ids) % self.block)
        return ids, [False] * len(prompt) + [True] * (len(ids) - len(prompt))

    def batches(self):
        """Batches of samples of about the same length, `BATCH` tokens together."""
        while True:
            pool = sorted((self.sample() for _ in range(POOL)), key=lambda s: self.rows(s))
            groups, group = [], []
            for sample in pool:
                if group and (len(group) + 1) * self.rows(sample) > BATCH:
                    groups.append(group)
                    group = []
                group.append(sample)
            self.rng.shuffle(groups)
            yield from map(self.arrays, groups)

    def rows(self, sample):
        ids, free = sample
        if self.bidirectional:
            return len(ids)
        return len(ids) + COPIES * (len(ids) - free.index(True) // self.block * self.block)

    def arrays(self, group):
        length = max(map(self.rows, group))
        shape = (len(group), length)
        ids, target, pos = np.zeros(shape, np.int64), np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
        block, copy = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
        for row, (clean, free) in enumerate(group):
            clean, free = np.array(clean), np.array(free)
            n, place = len(clean), np.arange(len(clean))
            if self.bidirectional:
                ids[row, :n], pos[row, :n], copy[row, :n] = clean, place, 0
                self.noise(ids, target, row, 0, clean, free, np.zeros(n, np.int64))
                continue
            ids[row, :n], pos[row, :n], copy[row, :n], block[row, :n] = clean, place, 0, place // self.block
            first = int(free.argmax()) // self.block * self.block
            for number in range(1, COPIES + 1):
                at, size = n + (number - 1) * (n - first), n - first
                span = slice(at, at + size)
                ids[row, span], pos[row, span], copy[row, span] = clean[first:], place[first:], number
                block[row, span] = place[first:] // self.block
                self.noise(ids, target, row, at, clean[first:], free[first:], block[row, span])
        return [torch.from_numpy(a) for a in (ids, target, pos, self.visible(block, copy))]

    def noise(self, ids, target, row, at, clean, free, block):
        """Masks a random number of the free positions of each block, at least one."""
        for number in np.unique(block[free]):
            places = np.flatnonzero(free & (block == number))
            # The case where all are masked, as when decoding begins, occurs more often.
            count = len(places) if self.rng.random() < 0.15 else self.rng.randint(1, len(places))
            chosen = np.array(self.rng.sample(list(places), count))
            target[row, at + chosen] = clean[chosen]
            ids[row, at + chosen] = self.mask
            if self.family == "llada2" and self.rng.random() < WRONG_BLOCKS:
                self.spoil(ids, target, row, at, clean, np.setdiff1d(places, chosen))

    def spoil(self, ids, target, row, at, clean, shown):
        """Makes some of the visible tokens wrong; the target of each visible token is what belongs there."""
        target[row, at + shown] = clean[shown]
        for place in shown:
            if self.rng.random() < WRONG:
                # One from the same sample, which is what a model confuses, or any.
                ids[row, at + place] = self.rng.choice(clean) if self.rng.random() < 0.5 else self.rng.randrange(self.end)

    def visible(self, block, copy):
        key_copy, key_block = copy[:, None, :], block[:, None, :]
        copy, block = copy[:, :, None], block[:, :, None]
        if self.bidirectional:
            return np.broadcast_to(key_copy == 0, (*copy.shape[:2], copy.shape[1])).copy()
        past = (key_copy == 0) & (key_block < block)
        own = (key_copy == copy) & (key_block == block)
        return past | own


def schedule(step, steps):
    if step < WARMUP:
        return step / WARMUP
    return min(1.0, (steps - step) / (DECAY * steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=["sdar", "llada", "llada2"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, help="8200 by default, 1600 for a run that starts from a trained model")
    parser.add_argument("--start-from", type=Path, help="directory of a trained model of the same family, or SDAR's for LLaDA and LLaDA2")
    parser.add_argument("--learning-rate", type=float, help=f"{LEARNING_RATE} by default, {AGAIN_RATE} from a trained model")
    parser.add_argument("--own-words", action="store_true", help="with what people type first (words.py), and more conversations")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=100, help="questions of each task in quality.jsonl")
    args = parser.parse_args()
    args.learning_rate = args.learning_rate or (AGAIN_RATE if args.start_from else LEARNING_RATE)
    args.steps = args.steps or (1600 if args.start_from else 8200)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)

    rng = random.Random(args.seed)
    tokenizer = tokenizer_of(args.start_from or args.out, rng)
    tokenizer.save(str(args.out / "tokenizer.json"))
    tok.write_config(args.out, tokenizer)
    shape = getattr(models, args.family)(tok.VOCAB)
    text = Text(tokenizer, args.family, rng, shape.block)
    write_quality(args.out / "quality.jsonl", tokenizer, text.tasks, args.held_out)
    if args.own_words:
        write_first(args.out / "first.jsonl")
    net = models.Model(shape)
    if args.start_from:
        first_weights(net, args.start_from, tokenizer, rng)
    matrices = [p for p in net.parameters() if p.dim() == 2]
    rest = [p for p in net.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))
    averaged = {name: p.detach().clone() for name, p in net.named_parameters()}
    start, state = 0, args.out / "state.pt"
    if state.exists():
        saved = torch.load(state)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        averaged, start = saved["averaged"], saved["step"]
        rng.seed(args.seed + start)
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, steps {start} to {args.steps}", flush=True)

    ids = {"end": text.end, "turn_end": text.turn_end, "mask": text.mask}
    began, losses, batches = time.time(), [], text.batches()
    for step in range(start, args.steps):
        if args.start_from or step >= EARLY * args.steps:
            text.mixture, text.conversations = tasks.AGAIN if args.start_from else tasks.LATE, CONVERSATIONS[1]
        if args.own_words:
            text.own_words, text.conversations = OWN_WORDS, CONVERSATIONS[0]
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * schedule(step, args.steps)
        inputs, target, positions, visible = next(batches)
        wanted = target >= 0
        loss = F.cross_entropy(net(inputs, positions, visible, wanted), target[wanted])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        for block in net.blocks:
            if isinstance(block.mlp, models.Mixture):
                block.mlp.balance()
        keep = min(AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, p in net.named_parameters():
                averaged[name].lerp_(p, 1 - keep)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            rate = (step + 1 - start) / (time.time() - began)
            print(f"step {step + 1} loss {np.mean(losses[-100:]):.4f} {rate:.2f} steps/s", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            saved = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "averaged": averaged, "step": step + 1}
            torch.save(saved, state.with_suffix(".tmp"))
            state.with_suffix(".tmp").replace(state)
            write_averaged(args.out, net, averaged, ids)
    state.unlink(missing_ok=True)


def first_weights(net, directory, tokenizer, rng):
    """Those of the model in `directory`, which is of `net`'s family or SDAR."""
    family = json.loads((directory / "config.json").read_text())["model_type"].removesuffix("_moe")
    if family == net.shape.family:
        warm.load(net, directory)
        return
    sdar = warm.load(models.Model(models.sdar(tok.VOCAB)), directory)
    if net.shape.experts:
        warm.start_experts(net, sdar)
        return
    inputs, target, positions, visible = next(Text(tokenizer, "sdar", rng, sdar.shape.block).batches())
    warm.start(net, sdar, (inputs, positions, visible, target >= 0))


def tokenizer_of(out, rng):
    """The tokenizer of an earlier phase of this run, or a new one."""
    path = out / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    texts = [text for _ in range(20000) for text in parts(tasks.draw(rng, tasks.EARLY))]
    # Each word alone, with and without a space, so that none is cut in two.
    texts += [f"{word} {word}" for word in tasks.WORDS + ["user", "assistant", "system"] for _ in range(300)]
    tokenizer = tok.train(texts)
    tokenizer.save(str(path))
    return tokenizer


def write_averaged(out, net, averaged, ids):
    trained = {name: p.detach().clone() for name, p in net.named_parameters()}
    net.load_state_dict(averaged, strict=False)
    models.write(out, net, ids)
    net.load_state_dict(trained, strict=False)


def parts(sample):
    return [part for turn in sample.turns for part in turn] + ["".join(sample.text)] * bool(sample.text)


def write_quality(path, tokenizer, wanted, count):
    """One JSON object a line: task, messages or text with a gap, and what the answer has to be."""
    lines = []
    for task in filter(wanted.__contains__, tasks.TASKS):
        for sample in tasks.held_out(task, count, 7):
            if sample.text:
                before, words, after = sample.text
                masks = len(tokenizer.encode(words).ids)
                lines.append({"task": task, "text": f"{before}<mask:{masks}>{after}", "expect": "".join(sample.text)})
                continue
            *history, (question, answer) = sample.turns
            messages = [m for q, a in history for m in ({"role": "user", "content": q}, {"role": "assistant", "content": a})]
            line = {"task": task, "messages": [*messages, {"role": "user", "content": question}]}
            line |= {"must": sample.must, "must_not": sample.must_not} if task == "story" else {"expect": answer}
            line["max_tokens"] = 96 if task == "story" else 32
            lines.append(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_first(path):
    """The same for the first questions of a new user."""
    lines = []
    for question, wanted in words.FIRST:
        line = {"task": "first", "messages": [{"role": "user", "content": question}], "max_tokens": 96}
        lines.append(line | ({"expect": wanted} if isinstance(wanted, str) else {"must": wanted, "must_not": []}))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
