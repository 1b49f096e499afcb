"""The adapter for lm-evaluation-harness, with tasks of our own and nothing from the network."""

import importlib.util
import itertools
import json
import math
import os
import sys
import tempfile
import types
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("diffulex") is None:
    sys.path.insert(0, str(ROOT / "python"))
os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
CHOICE = """output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: right
target_delimiter: ""
metric_list: [{metric: acc}]
"""
WORDS = """output_type: generate_until
doc_to_target: answer
generation_kwargs: {until: ["\\n"], max_gen_toks: 24, do_sample: false}
metric_list: [{metric: exact_match}]
"""
SUMS = [(27, 45), (12, 30), (8, 9)]


def request(*arguments):
    return types.SimpleNamespace(args=arguments)


def log_softmax(row, id):
    top = max(row)
    return row[id] - top - math.log(sum(math.exp(x - top) for x in row))


@unittest.skipUnless(importlib.util.find_spec("lm_eval"), "lm_eval is not installed")
class Harness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        from diffulex.lm_eval import Diffulex

        cls.make = Diffulex

    def demo(self, name="sdar", **options):
        return self.make(str(ROOT / "demo" / name), threads=2, context=512, **{"samples": 64, **options})

    def test_tasks(self):
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        with tempfile.TemporaryDirectory() as directory:
            os.environ["HF_HOME"] = directory
            data = Path(directory) / "sums.jsonl"
            lines = [{"question": f"What is {a} + {b}?", "answer": f"{a} + {b} = {a + b}.", "right": 1,
                      "choices": [f"{a} + {b} = {wrong}." for wrong in (a + b + 1, a + b, a)]} for a, b in SUMS]
            data.write_text("\n".join(map(json.dumps, lines)))
            for name, kind in (("sums_choice", CHOICE), ("sums_words", WORDS)):
                (Path(directory) / f"{name}.yaml").write_text(TASK.format(name=name, data=data) + kind)
            found = simple_evaluate(model=self.demo(), tasks=["sums_choice", "sums_words"], apply_chat_template=True,
                                    task_manager=TaskManager(include_path=directory, include_defaults=False), bootstrap_iters=0)
        results = found["results"]
        self.assertEqual(results["sums_choice"]["acc,none"], 1.0)
        self.assertEqual(results["sums_words"]["exact_match,none"], 1.0)

    def test_an_estimate_is_the_mean_over_all_masks(self):
        for name in ("sdar", "llada"):
            lm = self.demo(name, samples=400)
            model = lm.model
            before, target = model.encode("27 + 45"), model.encode(" = 72")[:3]
            # Within one block of a block-causal model: after whole blocks of context.
            block = model.info.block or 1
            before = (before * block)[: len(before) // block * block or block]
            exact = 0.0
            for masks in range(1, len(target) + 1):
                hidden = list(itertools.combinations(range(len(target)), masks))
                for places in hidden:
                    ids = [model.info.mask if at in places else id for at, id in enumerate(target)]
                    pad = [model.info.mask] * (-(len(before) + len(ids)) % block)
                    with model.session() as session:
                        session.forward(before + ids + pad)
                        rows = session.logits([len(before) + at for at in places])
                    logs = sum(log_softmax(row, target[at]) for row, at in zip(rows, places))
                    exact += len(target) / masks * logs / len(hidden) / len(target)
            found = lm._estimate(before, target)
            self.assertLess(abs(found - exact), 5 * lm.errors[-1] + 1e-4, name)
            self.assertGreater(lm.errors[-1], 0)
            self.assertEqual(lm._estimate(before, target), found)

    def test_one_token_is_exact(self):
        lm = self.demo(check_greedy=False)
        ids = lm.model.encode("27")
        self.assertTrue(all(estimate < 0 for estimate in lm.loglikelihood_rolling([request("27 + 45"), request("2")])))
        lm._estimate(ids, [ids[0]])
        self.assertEqual(lm.errors[-1], 0.0)

    def test_greedy_and_settings(self):
        lm = self.demo(samples=4)
        talk = lm.apply_chat_template([{"role": "user", "content": "What is 27 + 45?"}])
        right, wrong = lm.loglikelihood([request(talk, "27 + 45 = 72."), request(talk, "27 + 45 = 11.")])
        self.assertEqual((right[1], wrong[1]), (True, False))
        self.assertGreater(right[0], wrong[0])
        self.assertEqual(lm.generate_until([request(talk, {"until": " =", "max_gen_toks": 16}), request(talk, {"until": [], "do_sample": False})]),
                         ["27 + 45", "27 + 45 = 72."])
        for wrong in ({"samples": 1}, {"parallel": 0}, {"max_gen_toks": 0}):
            with self.subTest(**wrong), self.assertRaises(ValueError):
                self.demo(**wrong)
        with self.assertRaises(TypeError):
            self.demo(colour="red")


if __name__ == "__main__":
    unittest.main()
