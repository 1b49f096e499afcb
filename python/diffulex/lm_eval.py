"""Diffulex as a model of lm-evaluation-harness, which has to be installed (`pip install lm-eval`):

    python -m diffulex.lm_eval --model diffulex --model_args pretrained=SDAR-1.7B-Chat,samples=128 --tasks gsm8k

Answers are generated as `Model.generate_many` does. A likelihood is an estimate, because a diffusion model gives no exact one: for a
bidirectional model the Monte Carlo likelihood of LLaDA (arXiv:2502.09992, appendix B.5), for a block-causal one its sum over the blocks, each
after the text before it (arXiv:2503.09573, section 3). Both are lower bounds of the likelihood. `errors` holds the standard error of every
estimate, in the order of the requests.
"""

from __future__ import annotations

import logging
import math
import random
from typing import Any, Iterator, Sequence

import numpy as np
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from ._native import Model, Session

_log = logging.getLogger("diffulex")


@register_model("diffulex")
class Diffulex(LM):
    """`pretrained` is what `Model.open` takes. `samples` is how many random maskings of every block an estimate uses (or of the whole
    continuation), `seed` draws them. `check_greedy` says whether to find out, by decoding, if the continuation is the model's own. Further
    arguments are options of `Model.open`, and, with `decode_` in front, decode options: `decode_threshold=0.9`."""

    def __init__(self, pretrained: str, samples: int = 128, seed: int = 0, parallel: int = 8, max_gen_toks: int = 256,
                 check_greedy: bool = True, batch_size: Any = None, max_batch_size: Any = None, device: Any = None, **options: Any) -> None:
        super().__init__()
        for name, value, least in (("samples", samples, 2), ("parallel", parallel, 1), ("max_gen_toks", max_gen_toks, 1)):
            if int(value) < least:
                raise ValueError(f"{name} is {value}, at least {least} expected")
        if device not in (None, "cpu"):  # The harness always names one.
            _log.warning("device %s is not used: everything runs on the CPU", device)
        decode = {key.removeprefix("decode_"): options.pop(key) for key in list(options) if key.startswith("decode_")}
        self.model = Model.open(pretrained, **options)
        self.samples, self.seed, self.parallel = int(samples), int(seed), int(parallel)
        self.max_gen_toks, self.check_greedy, self.decode = int(max_gen_toks), bool(check_greedy), decode
        self.errors: list[float] = []

    @property
    def tokenizer_name(self) -> str:
        return repr(self.model)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return "the checkpoint's" if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        if not add_generation_prompt:
            raise NotImplementedError("a conversation that ends with words of the assistant (--apply_chat_template with a prefix) is not supported")
        return self.model.render(chat_history)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers; requests with the same settings are computed together."""
        groups: dict[str, list[int]] = {}
        for at, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(at)
        texts = [""] * len(requests)
        for places in groups.values():
            options = self._options(dict(requests[places[0]].args[1]))
            answers = self.model.generate_many([requests[at].args[0] for at in places], parallel=self.parallel, **options)
            for at, answer in zip(places, answers):
                texts[at] = answer.text
                self.cache_hook.add_partial("generate_until", requests[at].args, answer.text)
        return texts

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        """Settings of the harness as options of `generate_many`."""
        until = given.pop("until", None) or []
        options = {"stop": [until] if isinstance(until, str) else [string for string in until if string],
                   "max_new": int(given.pop("max_gen_toks", self.max_gen_toks)), "seed": self.seed, **self.decode}
        sampled = given.pop("do_sample", False)
        temperature = given.pop("temperature", None)
        options.setdefault("temperature", float(temperature or 1.0) if sampled else 0.0)
        for name in ("top_k", "top_p"):
            if given.get(name) is not None:
                options.setdefault(name, given.pop(name))
        if given:
            _log.warning("settings without effect: %s", ", ".join(given))
        return options

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Estimates for continuations, each with whether it is what greedy decoding gives."""
        found = [self._continued(*request.args) for request in requests]
        errors = self.errors[-len(requests):] or [0.0]
        _log.info("%d likelihoods were estimated, with standard errors of %.3g on average", len(requests), sum(errors) / len(errors))
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Estimates for whole strings."""
        return [self._estimate([], self.model.encode(request.args[0])) for request in requests]

    def _continued(self, context: str, continuation: str) -> tuple[float, bool]:
        before, whole = self._pair(context, continuation)
        target = whole[len(before):]
        estimate = self._estimate(before, target)
        greedy = False
        if self.check_greedy and before and target:
            # Decode options of the caller apply here, too.
            found = self.model.generate(before, max_new=len(target), **{"temperature": 0.0, **self.decode})
            greedy = list(found.canvas[len(before):len(whole)]) == target
        result = (estimate, greedy)
        self.cache_hook.add_partial("loglikelihood", (context, continuation), result)
        return result

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """The ids of the context, and those of everything. Where a token crosses the border, the blanks before it belong to the continuation,
        because in most vocabularies words begin with their blank."""
        for cut in (len(context), len(context.rstrip())):
            before = self.model.encode(context[:cut]) if cut else []
            whole = self.model.encode(context + continuation)
            if whole[: len(before)] == before:
                return before, whole
        return before, before + self.model.encode(context[cut:] + continuation)

    def _estimate(self, before: list[int], target: list[int]) -> float:
        """Estimates the logarithm of the likelihood of `target`, and keeps the standard error."""
        draw = random.Random(f"{self.seed} {before} {target}")
        total = variance = 0.0
        with self.model.session() as session:
            for start, ids, places in self._parts(session, before, target):
                mean, error = self._part(session, draw, start, ids, places)
                total, variance = total + mean, variance + error**2
        self.errors.append(math.sqrt(variance))
        return total

    def _parts(self, session: Session, before: list[int], target: list[int]) -> Iterator[tuple[int, list[int], list[int]]]:
        """What is predicted at a time: the position of its first token, all tokens of a pass over it, and which positions are masked there."""
        info, whole = self.model.info, before + target
        if not info.block:
            yield 0, whole, list(range(len(before), len(whole)))
            return
        if info.alignment == "seeded":
            raise NotImplementedError(f"no likelihood is published for models whose blocks begin with a token of a causal pass ({info.family})")
        assert info.mask is not None
        known = len(before) // info.block * info.block
        if known:
            self._know(session, whole[:known], 0)
        for start in range(known, len(whole), info.block):
            end = start + info.block
            ids = whole[start:end] + [info.mask] * (end - len(whole))
            places = list(range(max(start, len(before)), min(end, len(whole))))
            if places:
                yield start, ids, places
            if end < len(whole):
                self._know(session, ids, start)

    def _know(self, session: Session, ids: list[int], start: int) -> None:
        """Keeps finished blocks, and what their last row predicts: some families take the first token of the next block from it."""
        session.forward(ids, start)
        self._last = np.frombuffer(session.logits([len(ids) - 1])[0], dtype=np.float32)
        session.commit(len(ids))

    def _part(self, session: Session, draw: random.Random, start: int, ids: list[int], places: list[int]) -> tuple[float, float]:
        """Mean and standard error of the estimate for the tokens at `places`."""
        count, mask = len(places), self.model.info.mask
        assert mask is not None
        offset = draw.random()
        found = []
        # Numbers of masks are spread evenly, as in LLaDA's evaluation. For one token, the estimate is exact.
        for sample in range(self.samples if count > 1 else 1):
            masks = 1 + int(((sample + offset) / self.samples % 1) * count)
            hidden = sorted(draw.sample(places, masks))
            canvas = list(ids)
            for place in hidden:
                canvas[place - start] = mask
            session.forward(canvas, start)
            found.append(count / masks * sum(self._log_probabilities(session, start, ids, hidden)))
        mean = float(np.mean(found))
        return mean, float(np.std(found, ddof=1) / math.sqrt(len(found))) if len(found) > 1 else 0.0

    def _log_probabilities(self, session: Session, start: int, ids: list[int], places: list[int]) -> Iterator[float]:
        """Log-probabilities of the tokens of `ids` at masked places, from the latest pass."""
        before = int(self.model.info.alignment == "before")
        rows = [place - start - before for place in places]
        computed = iter(session.logits([row for row in rows if row >= 0]))
        for place, row in zip(places, rows):
            if row < 0 and start == 0:
                raise ValueError("no token comes before the first one to predict it: a context is expected")
            found = np.frombuffer(next(computed), dtype=np.float32) if row >= 0 else self._last
            logits = found.astype(np.float64)
            top = logits.max()
            yield float(logits[ids[place - start]] - top - np.log(np.exp(logits - top).sum()))


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
