"""The package, with the recorded checkpoints of tests/golden. Run: python -m unittest discover -s python/tests

An installed package is taken before the one of the source tree, which needs DIFFULEX_LIB (python/README.md)."""

import copy
import dataclasses
import importlib.util
import os
import pickle
import signal
import sys
import threading
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("diffulex") is None:
    sys.path.insert(0, str(ROOT / "python"))
sys.path.insert(0, str(ROOT / "tools"))

import diffulex  # noqa: E402 (the path has to come first)
from compare_library import compare  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
SDAR = GOLDEN / "sdar-f32"
PROMPT = [159, 189, 224, 95, 202, 125, 79, 251, 134, 236]
GREEDY = {"policy": "sdar-dynamic", "temperature": 0, "threshold": 0.2, "stop": []}
TOKENS = (237, 237, 258, 258, 258, 258, 157, 157, 157, 210, 250, 237, 173, 43, 56, 22)


def sdar(**options):
    return diffulex.Engine.open(SDAR, **{"threads": 2, "context": 256, "kv": "f32", **options})


class Opening(unittest.TestCase):
    def test_info(self):
        with sdar() as engine:
            info = engine.info
        self.assertEqual((info.family, info.kv, info.vocab, info.context, info.threads), ("SDAR", "f32", 301, 256, 2))
        self.assertEqual((info.block, info.mask, info.alignment), (4, 299, "own"))
        self.assertEqual(set(info.stop), {294, 296})

    def test_options(self):
        with sdar(mask=300, stop=[5], level="scalar", quantize="int8:32", activations="int8", storage="read") as engine:
            info = engine.info
        self.assertEqual((info.mask, info.stop, info.level, info.activations), (300, (5,), "scalar", "int8"))
        self.assertIn("8g32", info.weights)

    def test_errors_have_a_status_and_a_message(self):
        for options, status in [({"level": "avx3"}, "OPTION"), ({"threads": 5000}, "OPTION"), ({"quantize": "int3"}, "OPTION")]:
            with self.subTest(options), self.assertRaises(diffulex.DiffulexError) as caught:
                sdar(**options)
            self.assertEqual(caught.exception.status, status)
            self.assertIn(next(iter(options)), str(caught.exception))
        with self.assertRaises(diffulex.DiffulexError) as caught:
            diffulex.Engine.open("no/such/directory")
        self.assertEqual(caught.exception.status, "IO")

    def test_what_c_would_misread_is_refused(self):
        with self.assertRaises(TypeError):
            sdar(colour="red")
        with self.assertRaises(ValueError):
            diffulex.Engine.open("a\0b")
        with sdar() as engine, engine.session() as session:
            for wrong in (-1, 2**32):
                with self.assertRaises(ValueError):
                    session.generate([wrong], 4)

    def test_the_constructor_opens(self):
        with diffulex.Engine(SDAR, context=256) as engine:
            self.assertEqual(engine.info.context, 256)
        for wrong in ((), (None,), (5,), (object(),)):
            with self.subTest(wrong), self.assertRaises(TypeError):
                diffulex.Engine(*wrong)
        with self.assertRaises(diffulex.DiffulexError):
            diffulex.Engine("no/such/directory")

    def test_what_owns_memory_is_neither_made_nor_copied(self):
        with sdar() as engine:
            for wrong in ((), (engine,), (engine, 5)):
                with self.subTest(wrong), self.assertRaises(TypeError):
                    diffulex.Session(*wrong)
            with engine.session() as session:
                for thing in (engine, session):
                    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
                        with self.assertRaises(TypeError):
                            copied(thing)
            self.assertEqual(engine.info.vocab, 301)

    def test_numbers_that_c_would_cut(self):
        for options in ({"threads": 2**64 + 1}, {"context": -1}, {"token_limit": 2**64}, {"mask": 2**32}, {"stop": [-1]}):
            with self.subTest(options), self.assertRaises(ValueError):
                sdar(**options)
        with sdar() as engine, engine.session() as session:
            for request in ({"max_new": 2**64 + 4}, {"seed": 2**64}, {"seed": -1}, {"padding": 2**64}, {"max_new": -1}):
                with self.subTest(request), self.assertRaises(ValueError):
                    session.generate([1], **{"max_new": 4, **request})
            for call in (lambda: session.commit(-1), lambda: session.rewind(2**64), lambda: session.logits([2**64]),
                         lambda: session.forward([1], first=2**64), lambda: next(session.stream([1], 2**64))):
                with self.assertRaises(ValueError):
                    call()
            with self.assertRaises(TypeError):
                session.generate([1], 4.5)

    def test_errors_survive_pickling(self):
        with self.assertRaises(diffulex.DiffulexError) as caught:
            diffulex.Engine("no/such/directory")
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((again.status, str(again)), (caught.exception.status, str(caught.exception)))

    def test_memory(self):
        config, weights = (SDAR / "config.json").read_bytes(), (SDAR / "model.safetensors").read_bytes()
        with diffulex.Engine.from_bytes(config, weights, kv="f32", context=256) as engine:
            self.assertEqual(engine.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)
        with self.assertRaises(diffulex.DiffulexError) as caught:
            diffulex.Engine.from_bytes(config, weights[:-1])
        self.assertEqual(caught.exception.status, "FORMAT")

    def test_version(self):
        self.assertRegex(diffulex.version(), r"^\d+\.\d+\.\d+$")


class Generating(unittest.TestCase):
    def setUp(self):
        self.engine = sdar()
        self.addCleanup(self.engine.close)

    def test_tokens(self):
        found = self.engine.generate(PROMPT, 16, **GREEDY)
        self.assertEqual(found.tokens, TOKENS)
        self.assertEqual(found.canvas[: len(PROMPT)], tuple(PROMPT))
        self.assertEqual((found.new_tokens, found.nfe, found.cache, found.stop_reason), (16, 9, "block", "length"))
        self.assertIsNone(found.stop_id)

    def test_stop_ids(self):
        found = self.engine.generate(PROMPT, 16, **{**GREEDY, "stop": [157]})
        self.assertEqual((found.tokens, found.stop_reason, found.stop_id), (TOKENS[:6], "token", 157))

    def test_seed(self):
        def drawn(seed):
            return self.engine.generate(PROMPT, 16, seed=seed, temperature=1.0, top_k=0, stop=[]).tokens

        self.assertEqual(drawn(1), drawn(1))
        self.assertNotEqual(drawn(1), drawn(2))

    def test_events(self):
        events = []
        found = self.engine.generate(PROMPT, 16, on_event=events.append, **GREEDY)
        self.assertEqual(sum(event.kind == "pass" for event in events), found.nfe)
        self.assertEqual(events[0].pass_kind, "prefill")
        revealed = {token.position: token.id for event in events for token in event.tokens}
        self.assertEqual(revealed, dict(enumerate(found.canvas[10:], 10)))
        self.assertTrue(all(event.canvas[:10] == tuple(PROMPT) and event.mask == 299 for event in events))
        self.assertTrue(any(len(event.candidates) > len(event.tokens) for event in events))

    def test_a_callback_ends_the_generation(self):
        found = self.engine.generate(PROMPT, 16, on_event=lambda event: event.kind == "revealed", **GREEDY)
        self.assertEqual(found.stop_reason, "cancelled")

    def test_what_a_callback_raises_is_raised(self):
        def fail(event):
            raise KeyError("mine")

        with self.engine.session() as session:
            with self.assertRaisesRegex(KeyError, "mine"):
                session.generate(PROMPT, 16, on_event=fail, **GREEDY)
            self.assertEqual(session.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)

    def test_a_session_is_busy_in_its_callback(self):
        statuses = set()

        def again(event):
            try:
                session.generate(PROMPT, 4)
            except diffulex.DiffulexError as error:
                statuses.add(error.status)

        with self.engine.session() as session:
            session.generate(PROMPT, 16, on_event=again, **GREEDY)
        self.assertEqual(statuses, {"BUSY"})

    def test_a_session_closed_in_its_callback_ends_well(self):
        session = self.engine.session()
        found = session.generate(PROMPT, 16, on_event=lambda event: session.close(), **GREEDY)
        self.assertEqual(found.tokens, TOKENS)
        with self.assertRaisesRegex(diffulex.DiffulexError, "closed"):
            session.generate(PROMPT, 4)

    def test_wrong_requests(self):
        for request, status in [
            ({"max_new": 10**6}, "CAPACITY"), ({"threshold": 2}, "OPTION"), ({"heat": 1}, "OPTION"), ({"cfg": -1}, "OPTION"),
            ({"policy": "best"}, "OPTION"), ({"ids": [301]}, "TOKEN"), ({"max_new": 0}, "OPTION"),
        ]:
            with self.subTest(request), self.assertRaises(diffulex.DiffulexError) as caught:
                self.engine.generate(**{"ids": PROMPT, "max_new": 4, **request})
            self.assertEqual(caught.exception.status, status)

    def test_a_chat_keeps_what_it_computed(self):
        with self.engine.session() as session:
            first = session.generate(PROMPT, 16, **GREEDY)
            longer = list(first.canvas) + PROMPT
            kept = []
            second = session.generate(longer, 8, on_event=lambda event: kept.append(event.cached) or False, **GREEDY)
        fresh = self.engine.generate(longer, 8, **GREEDY)
        self.assertEqual(second.canvas, fresh.canvas)
        self.assertGreaterEqual(kept[0], 24)

    def test_infilling(self):
        found = self.engine.generate([*PROMPT[:2], 299, PROMPT[3]], 0, **GREEDY)
        self.assertEqual((found.new_tokens, found.tokens), (1, ()))
        self.assertNotEqual(found.canvas[2], 299)


class Processes(unittest.TestCase):
    """Signals and forks."""

    def interrupted(self, call):
        class Signalled(Exception):
            pass

        def raises(*_):
            raise Signalled

        before = signal.signal(signal.SIGALRM, raises)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with self.assertRaises(Signalled):
                for _ in range(10_000):  # However fast the machine is.
                    call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @unittest.skipUnless(hasattr(signal, "setitimer"), "no timer signals here")
    def test_what_a_signal_raises_is_raised_at_once(self):
        with sdar(context=4096) as engine, engine.session() as session:
            # The session is free again afterwards: a generation that continues would keep it.
            for on_event in (None, lambda event: False):
                self.interrupted(lambda: session.generate(PROMPT, 2000, on_event=on_event, stop=[]))
                self.assertEqual(session.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)
            self.interrupted(lambda: list(session.stream(PROMPT, 2000, stop=[])))
            self.assertEqual(session.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_generates_and_ends_quietly(self):
        with sdar() as engine:
            self.assertEqual(engine.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)

            def generates_and_closes():
                same = engine.generate(PROMPT, 16, **GREEDY).tokens == TOKENS
                engine.close()
                return same

            self.assertEqual(self.in_a_child(generates_and_closes), (0, b""))

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_that_is_born_during_a_generation_works(self):
        with sdar(context=4096) as engine, engine.session() as busy:
            begun, over = threading.Event(), threading.Event()

            def watch(event):
                begun.set()
                return over.is_set()

            thread = threading.Thread(target=lambda: busy.generate(PROMPT, 2000, on_event=watch, stop=[]))
            thread.start()
            try:
                begun.wait(30)
                self.assertEqual(self.in_a_child(lambda: engine.generate(PROMPT, 16, **GREEDY).tokens == TOKENS), (0, b""))
            finally:
                over.set()
                thread.join()

    def in_a_child(self, check):
        """The exit code of a child in which `check` should hold, and what it printed."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.dup2(write, 2)
                status = 0 if check() else 2
            finally:
                os._exit(status)
        os.close(write)
        deadline = time.monotonic() + 30
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        if ended[0] == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.fail("the child hangs")
        with os.fdopen(read, "rb") as said:
            return os.waitstatus_to_exitcode(ended[1]), said.read()


class Text(unittest.TestCase):
    """The demo model, which adds and sorts."""

    @classmethod
    def setUpClass(cls):
        cls.model = diffulex.Model.open(ROOT / "demo" / "sdar", threads=2, context=256)
        cls.addClassCleanup(cls.model.close)

    def test_a_question(self):
        answer = self.model.ask("What is 27 + 45?")
        self.assertEqual((answer.text, answer.stop_reason), ("27 + 45 = 72.", "token"))
        self.assertEqual(answer.tokens, len(self.model.encode(answer.text)))
        self.assertEqual(answer, self.again(answer, [{"role": "user", "content": "What is 27 + 45?"}]))

    def again(self, before, question, **options):
        """The answer again, with the times of the first, which differ."""
        after = self.model.ask(question, **options)
        times = {"prefill_seconds": before.prefill_seconds, "decode_seconds": before.decode_seconds}
        return dataclasses.replace(after, **times)

    def test_control_tokens_of_a_message_are_text(self):
        # A mask before text that is known cannot be filled in by a block-causal model: were it control, this would be refused.
        words = "<|im_end|><mask:3> and much more text than a block of this model has room for."
        with self.assertRaises(diffulex.DiffulexError):
            self.model.ask(words)
        with self.model.session() as session:
            answer = self.model.ask([{"role": "user", "content": words}], session=session, max_new=8)
            self.assertIn(answer.stop_reason, ("token", "length"))

    def test_text_comes_as_it_becomes_final(self):
        pieces = []
        answer = self.model.ask("What is 27 + 45?", on_text=pieces.append)
        self.assertEqual("".join(pieces), answer.text)
        self.assertGreater(len(pieces), 1)
        stream = self.model.stream("What is 27 + 45?")
        self.assertEqual("".join(stream), answer.text)
        first = self.model.ask("What is 27 + 45?", on_text=lambda piece: True)
        self.assertEqual((first.text, first.stop_reason), (pieces[0], "cancelled"))

    def test_stop_strings_gaps_and_policies(self):
        answer = self.model.ask("What is 27 + 45?", stop=["nowhere", " = "])
        self.assertEqual((answer.text, answer.stop_reason), ("27 + 45", "string"))
        filled = self.model.ask("27 + 45 =<mask:3>")
        self.assertTrue(filled.text.startswith("27 + 45 ="), filled.text)
        warm = [self.model.ask("What is 27 + 45?", policy="sdar-static", temperature=5.0, seed=7).text for _ in range(2)]
        self.assertEqual(*warm)

    def test_bound_answers(self):
        self.assertIn(self.model.ask("Is it?", regex="(yes|no)!").text, ("yes!", "no!"))
        for schema in ({"enum": [72, 73]}, '{"enum": [72, 73]}'):
            answer = self.model.ask("What is 27 + 45?", schema=schema)
            self.assertEqual((answer.text in ("72", "73"), answer.stop_reason), (True, "token"))
        self.assertEqual("".join(self.model.stream("Say a.", grammar='start: "a" "b"')), "ab")
        for options in ({"regex": "("}, {"schema": {"type": "colour"}}, {"regex": "a", "grammar": 'start: "a"'}):
            with self.subTest(**options), self.assertRaises(diffulex.DiffulexError):
                self.model.ask("x", **options)

    def test_ids_and_back(self):
        ids = self.model.encode("27 + 45<mask:40>")
        self.assertEqual(ids[-40:], [self.model.info.mask] * 40)
        self.assertEqual(self.model.decode(ids[:-40]), "27 + 45")
        self.assertEqual(self.model.engine.generate(ids[:-40], 4, seed=1).canvas[: len(ids) - 40], tuple(ids[:-40]))

    def test_wrong_questions(self):
        for question, options, error in [
            ("", {}, diffulex.DiffulexError), ("a", {"max_new": 0}, ValueError), ("a", {"stop": "b"}, TypeError),
            ("a", {"temperature": -1}, diffulex.DiffulexError), ([{"role": "user"}], {}, KeyError), ([], {}, diffulex.DiffulexError),
            ("a", {"stop": [""]}, diffulex.DiffulexError), ([{"role": "user", "content": "a"}], {"raw": True}, diffulex.DiffulexError),
            ([{"role": "user", "content": "a", "name": "b"}], {}, ValueError), ([{"role": "user", "content": None}], {}, TypeError),
            ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], {}, TypeError), (["a"], {}, TypeError),
            ({"role": "user", "content": "a"}, {}, TypeError), (b"a", {}, TypeError), (None, {}, TypeError),
            ("a\0b", {}, ValueError), ("\ud83d", {}, UnicodeEncodeError), ([{"role": "user", "content": "\udc00"}], {}, UnicodeEncodeError),
        ]:
            with self.subTest(question, **options), self.assertRaises(error):
                self.model.ask(question, **options)

    def test_an_engine_outlives_its_model(self):
        model = diffulex.Model(ROOT / "demo" / "sdar", threads=1, context=256)
        ids, session = model.encode("27"), model.session()
        model.close()
        self.assertEqual(len(session.generate(ids, 4, stop=[]).tokens), 4)
        with self.assertRaises(diffulex.DiffulexError):
            model.ask("27")


class Streaming(unittest.TestCase):
    def setUp(self):
        self.engine = sdar()
        self.addCleanup(self.engine.close)

    def test_events_and_result(self):
        stream, events = self.engine.stream(PROMPT, 16, **GREEDY), []
        try:
            while True:
                events.append(next(stream))
        except StopIteration as end:
            self.assertEqual(end.value.tokens, TOKENS)
        told = []
        self.engine.generate(PROMPT, 16, on_event=told.append, **GREEDY)
        self.assertEqual(events, told)

    def test_closing_ends_the_generation(self):
        before = threading.active_count()
        with self.engine.session() as session:
            stream = session.stream(PROMPT, 200, **GREEDY)
            next(stream)
            with self.assertRaises(diffulex.DiffulexError) as caught:
                session.generate(PROMPT, 4)
            self.assertEqual(caught.exception.status, "BUSY")
            stream.close()
            self.assertEqual(session.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)
        self.assertEqual(threading.active_count(), before)

    def test_errors(self):
        with self.assertRaises(diffulex.DiffulexError):
            list(self.engine.stream(PROMPT, 10**6))


class Passes(unittest.TestCase):
    def test_a_loop_of_ones_own(self):
        with sdar() as engine, engine.session() as session:
            ids = PROMPT + [299, 299]
            session.forward(ids)
            session.commit(8)
            self.assertEqual(session.committed, 8)
            whole = session.logits(range(8, 12))
            session.forward(ids[8:], 8)
            self.assertEqual(session.logits(range(4)), whole, "a cached pass has the same bits")
            self.assertEqual((len(whole), len(whole[0])), (4, engine.info.vocab))
            session.rewind(4)
            self.assertEqual(session.committed, 4)
            for wrong in (lambda: session.commit(1), lambda: session.rewind(5), lambda: session.forward([], 4),
                          lambda: session.logits([4])):
                with self.assertRaises(diffulex.DiffulexError) as caught:
                    wrong()
                self.assertEqual(caught.exception.status, "ARGUMENT")
            with self.assertRaises(ValueError):
                session.forward(ids, 4, visible="some")

    def test_the_engine_may_be_closed_first(self):
        engine = sdar()
        session = engine.session()
        engine.close()
        engine.close()
        self.assertEqual(session.generate(PROMPT, 16, **GREEDY).tokens, TOKENS)
        with self.assertRaisesRegex(diffulex.DiffulexError, "the engine is closed"):
            engine.session()

    def test_two_threads(self):
        found = []
        with sdar() as engine:
            work = [threading.Thread(target=lambda: found.append(engine.generate(PROMPT, 16, **GREEDY).tokens)) for _ in range(2)]
            for thread in work:
                thread.start()
            for thread in work:
                thread.join()
        self.assertEqual(found, [TOKENS, TOKENS])


class Recordings(unittest.TestCase):
    def test_every_recorded_pass_and_plain_generation(self):
        for directory in sorted(path.parent for path in GOLDEN.glob("*/config.json")):
            with self.subTest(directory.name):
                results = compare(directory, level="scalar")
                # A set of one question has two: the prompt, and the generation.
                self.assertGreaterEqual(len(results), 2 if directory.name == "fastdllm2-stop" else 3)
                wrong = [result for result in results if result.difference > 1e-4]
                self.assertEqual(wrong, [])

    def test_a_difference_is_found(self):
        directory = GOLDEN / "llada-f32"
        results = compare(directory, quantize="int8:32")
        self.assertGreater(max(result.difference for result in results if result.name.startswith("fwd.")), 1e-4)


if __name__ == "__main__":
    unittest.main()
