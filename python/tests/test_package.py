"""What the package has in addition to the calls of the C interface: steps, batches, numbers, decisions, errors with parts."""

import asyncio
import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("diffulex") is None:
    sys.path.insert(0, str(ROOT / "python"))

import diffulex  # noqa: E402 (the path has to come first)

SUM = "What is 27 + 45?"
ANSWER = "27 + 45 = 72."


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = diffulex.Model.open(ROOT / "demo" / "sdar", threads=2, context=256)
        cls.addClassCleanup(cls.model.close)


class Asking(Case):
    def test_a_conversation(self):
        messages = [{"role": "user", "content": SUM}]
        self.assertEqual(self.model.chat(messages).text, ANSWER)
        for wrong in (SUM, {"role": "user", "content": SUM}, None, [SUM]):
            with self.subTest(wrong), self.assertRaises(TypeError):
                self.model.chat(wrong)

    def test_prompts_as_they_are(self):
        ids = self.model.encode("27 + 45 =")
        given = self.model.generate("27 + 45 =", max_new=8)
        self.assertEqual(self.model.generate(ids, max_new=8).text, given.text)
        self.assertEqual(self.model.ask("27 + 45 =", raw=True, max_new=8).text, given.text)
        self.assertEqual((given.canvas[: len(ids)], given.prompt_tokens), (tuple(ids), len(ids)))
        for wrong in ([], [10**6], "", [1.5]):
            with self.subTest(wrong), self.assertRaises((diffulex.DiffulexError, TypeError)):
                self.model.generate(wrong)

    def test_a_suffix(self):
        with diffulex.Model(ROOT / "demo" / "llada", threads=2, context=256) as model:
            filled = model.generate("27 + ", suffix=" = 72", max_new=2)
            self.assertEqual((filled.tokens, filled.stop_reason), (2, "length"))
            with self.assertRaises(diffulex.OptionError):
                model.generate([1, 2], suffix="b")

    def test_options_are_those_of_the_table(self):
        table = (ROOT / "docs" / "decoding.md").read_text(encoding="utf-8")
        names = {name.replace("-", "_") for name in re.findall(r"^\| `--([a-z-]+)", table, re.MULTILINE)}
        stub = (ROOT / "python" / "diffulex" / "_native.pyi").read_text(encoding="utf-8")
        listed = stub.split("class _DecodeOptions")[1].split("\nclass ")[0]
        self.assertEqual(set(re.findall(r"^    ([a-z_]+):", listed, re.MULTILINE)), names)
        self.assertEqual(len(names), 23)

    def test_options_may_be_none_and_come_once(self):
        self.assertEqual(self.model.ask(SUM, threshold=None, max_new=None, stop=None, seed=None, session=None).text, ANSWER)
        same = [self.model.ask(SUM, policy="sdar-static threshold=0.9"), self.model.ask(SUM, strategy="sdar-static", threshold=0.9)]
        self.assertEqual(*(answer.nfe for answer in same))
        for options in ({"policy": "sdar-static", "strategy": "sdar-static"}, {"policy": "sdar-static threshold=0.9", "threshold": 0.9},
                        {"steps": 1, "steps_per_block": 1}, {"heat": 1}, {"no_merge": 1}):
            with self.subTest(**options), self.assertRaises(diffulex.OptionError):
                self.model.ask(SUM, **options)

    def test_names(self):
        self.assertRegex(repr(self.model), r"Model .*demo.sdar: SDAR, \d+ parameters, 5 layers of 192 .* kernels")
        self.assertRegex(repr(self.model.engine), r"Engine: SDAR, ")
        with diffulex.Engine(ROOT / "demo" / "sdar") as engine:
            pass
        self.assertEqual(repr(engine), "<diffulex.Engine, closed>")

    def test_models_and_engines_may_be_subclassed(self):
        class Own(diffulex.Model):
            def shout(self, question):
                return self.ask(question).text.upper()

        with Own.open(ROOT / "demo" / "sdar", threads=1, context=256) as own:
            self.assertEqual((type(own), own.shout(SUM)), (Own, ANSWER))

    def test_a_hub_id_that_is_not_there(self):
        with self.assertRaisesRegex(diffulex.DiffulexError, "Hugging Face cache"):
            diffulex.Model("nobody/has-this")


class Stepping(Case):
    def test_steps_are_the_answer(self):
        steps = self.model.steps(SUM)
        events = list(steps)
        self.assertEqual("".join(event.text for event in events), ANSWER)
        self.assertEqual((events[-1].kind, steps.result.text), ("end", ANSWER))
        self.assertEqual(sum(event.kind == "pass" for event in events), steps.result.nfe)
        self.assertEqual(list(steps), [])

    def test_a_pass_is_made_when_it_is_asked_for(self):
        with self.model.session() as session:
            steps = self.model.steps(SUM, session=session)
            first = next(steps)
            self.assertEqual((first.kind, session_busy(session)), ("pass", True))
            steps.close()
            steps.close()
            self.assertEqual((steps.result.stop_reason, steps.result.text), ("cancelled", ""))
            self.assertEqual(self.model.ask(SUM, session=session).text, ANSWER)

    def test_an_iterator_that_is_dropped_frees_its_session(self):
        with self.model.session() as session:
            next(self.model.stream(SUM, session=session))
            self.assertFalse(session_busy(session))

    def test_the_result_without_the_items(self):
        self.assertEqual(self.model.stream(SUM).result.text, ANSWER)

    def test_asynchronous(self):
        async def pieces():
            return [piece async for piece in self.model.stream(SUM)]

        async def both():
            return await asyncio.gather(pieces(), pieces())

        self.assertEqual(["".join(each) for each in asyncio.run(both())], [ANSWER, ANSWER])

    def test_a_cancelled_task_ends_the_generation(self):
        async def cancelled(session):
            async def wait():
                async for _ in self.model.steps(SUM, session=session):
                    begun.set()
                    await asyncio.sleep(0)

            begun = asyncio.Event()
            task = asyncio.ensure_future(wait())
            await begun.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        with self.model.session() as session:
            asyncio.run(cancelled(session))
            self.assertEqual(self.model.ask(SUM, session=session).text, ANSWER)

    def test_traces(self):
        steps = self.model.steps(SUM)
        passes = diffulex.trace(steps)
        self.assertEqual([one["index"] for one in passes], list(range(steps.result.nfe)))
        known = {token["pos"]: token["token"] for one in passes for token in one["revealed"]}
        prompt, mask = steps.result.prompt_tokens, self.model.info.mask
        after = dict(enumerate(steps.result.canvas[prompt:], prompt))
        self.assertEqual(known, {position: id for position, id in after.items() if id != mask})
        self.assertTrue(all(one["ms"] >= 0 for one in passes))
        self.assertTrue(any("block" in one for one in passes))


def session_busy(session):
    try:
        session.committed
    except diffulex.BusyError:
        return True
    return False


class Many(Case):
    def test_each_is_as_it_is_alone(self):
        prompts = ["27 + 45 =", self.model.encode("30 + 12 ="), [{"role": "user", "content": SUM}], [{"role": "user", "content": "Hello"}]]
        told = {}
        options = {"temperature": 0.8, "seed": 5, "max_new": 12}
        answers = self.model.generate_many(prompts, parallel=3, on_answer=told.__setitem__, **options)
        alone = [self.model.generate(prompt, **options) for prompt in prompts]
        self.assertEqual([answer.canvas for answer in answers], [answer.canvas for answer in alone])
        self.assertEqual([answer.text for answer in answers], [answer.text for answer in alone])
        self.assertEqual(told, dict(enumerate(answers)))

    def test_no_prompts_and_wrong_ones(self):
        self.assertEqual(self.model.generate_many([]), [])
        for prompts, error in (("27", TypeError), (["27", ""], diffulex.OptionError), (["27", [10**6]], diffulex.TokenError),
                               ([None], TypeError), (5, TypeError)):
            with self.subTest(prompts), self.assertRaises(error):
                self.model.generate_many(prompts)
        with self.assertRaises(diffulex.CapacityError):
            self.model.generate_many(["27"], max_new=10**6)

    def test_what_a_callback_raises_is_raised(self):
        def fail(at, answer):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.model.generate_many(["27", "30"], on_answer=fail, max_new=4)

    def test_other_threads_go_on_during_a_pass(self):
        counted, over = 0, threading.Event()

        def count():
            nonlocal counted
            while not over.is_set():
                counted += 1

        thread = threading.Thread(target=count)
        thread.start()
        try:
            self.model.generate_many(["27 + 45 ="] * 8)
        finally:
            over.set()
            thread.join()
        self.assertGreater(counted, 0)


class Deciding(Case):
    def test_verdicts(self):
        questions = {"colour": {"options": ["red", "green"]}, "late": {"boolean": True, "ask": "Is it late?"},
                     "much": {"score": {"min": 1, "max": 3}, "lead": "how much: "}}
        verdicts = self.model.decide("Tom has 3 red apples.", questions)
        self.assertEqual(list(verdicts), list(questions))
        for verdict in verdicts.values():
            self.assertAlmostEqual(sum(verdict.probabilities.values()), 1)
            self.assertEqual(max(verdict.probabilities.values()), verdict.probability)
        self.assertIn(verdicts["colour"].answer, ("red", "green"))
        self.assertIsInstance(verdicts["late"].answer, bool)
        self.assertTrue(1 <= verdicts["much"].mean <= 3)
        again = self.model.decide({"text": "Tom has 3 red apples."}, {"colour": {"options": ["red", "green"]}}, again=True)
        self.assertIn(again["colour"].answer, ("red", "green"))

    def test_wrong_questions(self):
        for questions, error in [
            ({}, diffulex.OptionError), ({"a": {}}, ValueError), ({"a": {"options": ["b"]}}, diffulex.OptionError),
            ({"a": {"boolean": False}}, ValueError), ({"a": {"boolean": True, "options": ["b", "c"]}}, ValueError),
            ({"a": {"colour": 1}}, ValueError), ({"a": 5}, TypeError), (["a"], TypeError), ({"a": {"score": {"min": 1}}}, KeyError),
        ]:
            with self.subTest(questions), self.assertRaises(error):
                self.model.decide("x", questions)


class Numbers(Case):
    def setUp(self):
        if importlib.util.find_spec("numpy") is None:
            self.skipTest("numpy is not installed")

    def test_logits_and_hidden_states(self):
        import numpy

        ids, info = self.model.encode("27 + 45 ="), self.model.info
        logits = self.model.logits(ids)
        self.assertEqual((logits.shape, logits.dtype), ((len(ids), info.vocab), numpy.float32))
        with self.model.session() as session:
            session.forward(ids)
            self.assertTrue(numpy.array_equal(numpy.array(session.logits(range(len(ids)))), logits))
        self.assertTrue(numpy.array_equal(self.model.logits(ids, rows=[2, 0]), logits[[2, 0]]))
        last = self.model.hidden(ids, layer=-1)
        self.assertEqual(last.shape, (len(ids), info.hidden))
        self.assertTrue(numpy.array_equal(self.model.hidden(ids, layer=info.layers - 1, rows=[1]), last[[1]]))
        normed = self.model.hidden(ids, rows=[1])
        self.assertEqual(normed.shape, (1, info.hidden))
        self.assertFalse(numpy.array_equal(normed, last[[1]]))
        for wrong in (lambda: self.model.logits([]), lambda: self.model.logits(ids, rows=[len(ids)]), lambda: self.model.logits([10**6])):
            with self.assertRaises(diffulex.DiffulexError):
                wrong()
        for layer in (info.layers, -info.layers - 1):
            with self.assertRaises(ValueError):
                self.model.hidden(ids, layer=layer)

    def test_ids_may_be_an_array(self):
        import numpy

        ids = self.model.encode("27 + 45 =")
        self.assertEqual(self.model.generate(numpy.array(ids), max_new=4).canvas, self.model.generate(ids, max_new=4).canvas)


class Errors(unittest.TestCase):
    def caught(self, call):
        with self.assertRaises(diffulex.DiffulexError) as caught:
            call()
        error = caught.exception
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(again), again.args, again.status), (type(error), error.args, error.status))
        return error

    def test_errors_have_parts(self):
        open_model = lambda **options: lambda: diffulex.Model(ROOT / "demo" / "sdar", **options)  # noqa: E731
        error = self.caught(lambda: diffulex.Engine("no/such/directory/at/all"))
        self.assertEqual((type(error), error.status, error.file), (diffulex.FileError, "IO", "no/such/directory/at/all"))
        error = self.caught(open_model(threads=5000))
        self.assertEqual((type(error), error.key, error.found, error.expected), (diffulex.OptionError, "threads", "5000", "at most 1024"))
        error = self.caught(open_model(storage="cloud"))
        self.assertEqual((error.key, error.found, error.expected), ("storage", "cloud", "map or read"))
        with diffulex.Engine(ROOT / "demo" / "sdar", context=64) as engine:
            error = self.caught(lambda: engine.generate([1], 100))
            self.assertEqual((type(error), int(error.found) > 100, error.expected), (diffulex.CapacityError, True, "at most 64"))
            error = self.caught(lambda: engine.generate([704], 4))
            self.assertEqual((type(error), error.found, error.expected), (diffulex.TokenError, "704", "below 704"))

    def test_every_status_has_a_class(self):
        header = (ROOT / "include" / "diffulex.h").read_text(encoding="utf-8")
        block = header.split("DIFFULEX_OK = 0,")[1].split("};")[0]
        names = set(re.findall(r"DIFFULEX_([A-Z_]+) = \d+", block))
        self.assertEqual({error.status for error in diffulex.DiffulexError.__subclasses__()}, names)

    def test_progress(self):
        told = []
        with diffulex.Model(ROOT / "demo" / "sdar", quantize="int8", progress=lambda done, of: told.append((done, of))):
            self.assertEqual(told[-1][0], told[-1][1])

        def fail(done, of):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            diffulex.Model(ROOT / "demo" / "sdar", quantize="int8", progress=fail)

    def test_a_package_without_its_extension_says_what_to_do(self):
        code = "import sys; sys.path.insert(0, sys.argv[1]); import diffulex"
        with tempfile.TemporaryDirectory() as directory:
            package = Path(directory) / "diffulex"
            package.mkdir()
            for file in Path(diffulex.__file__).parent.glob("*.py"):
                shutil.copy(file, package)
            for named in ({}, {"DIFFULEX_LIB": directory}):
                ran = subprocess.run([sys.executable, "-c", code, directory], env={**os.environ, "DIFFULEX_LIB": "", "PYTHONPATH": "", **named},
                                     cwd=directory, capture_output=True, text=True)
                self.assertEqual(ran.returncode, 1)
                self.assertIn("pip install ./python", ran.stderr)


if __name__ == "__main__":
    unittest.main()
