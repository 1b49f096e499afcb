"""The text that the demo models learn: questions with answers that a program can check.

Everything is generated here from word lists and a small grammar; no text comes from elsewhere. A sample is a conversation of
one to three turns. What is asked is split by a hash: one in sixteen questions is held out, never trained on, and is what
`quality.jsonl` measures.
"""

import hashlib
import random
from dataclasses import dataclass, field

NAMES = "Mia Tom Anna Ben Lucy Max Ella Sam Nora Leo Ruby Finn Clara Hugo Iris Paul".split()
ANIMALS = "fox bear owl cat dog mouse hen frog horse wolf rabbit duck".split()
COLORS = "red blue green yellow white black brown golden".split()
THINGS = "lamp kite boat ball key book hat drum bell coin box map".split()
PLACES = "forest garden river hill village cave meadow lake mill castle".split()
TIMES = "morning evening night".split()
FEELINGS = "happy proud glad".split()
WORDS = NAMES + ANIMALS + COLORS + THINGS + PLACES

TASKS = ["sum", "difference", "sort", "reverse", "fact", "question", "story", "gap"]


@dataclass
class Sample:
    """A conversation that ends with the answer to learn, or plain text with a gap (`turns` is then empty)."""

    task: str
    turns: list = field(default_factory=list)  # (question, answer), the last one is learned
    text: tuple = ()  # (before, gap, after) of plain text with a gap
    must: list = field(default_factory=list)  # a story has to contain each of these ...
    must_not: list = field(default_factory=list)  # ... and none of these
    key: str = ""  # what decides whether it is held out

    def held_out(self):
        return hashlib.sha256(f"{self.task}:{self.key}".encode()).digest()[0] < 16


def operands(rng):
    """Two numbers below 100; often below 10, which is where adding is learned."""
    limit = 10 if rng.random() < 0.25 else 100
    return rng.randrange(limit), rng.randrange(limit)


def sum_(rng):
    a, b = operands(rng)
    ask = rng.choice(["What is {a} + {b}?", "{a} + {b} = ?", "Add {a} and {b}."])
    return Sample("sum", [(ask.format(a=a, b=b), f"{a} + {b} = {a + b}.")], key=f"{a},{b}")


def difference(rng):
    a, b = sorted(operands(rng), reverse=True)
    ask = rng.choice(["What is {a} - {b}?", "{a} - {b} = ?", "Take {b} from {a}."])
    return Sample("difference", [(ask.format(a=a, b=b), f"{a} - {b} = {a - b}.")], key=f"{a},{b}")


def sort(rng):
    items = [rng.randrange(10) for _ in range(rng.randint(3, 6))]
    ask = rng.choice(["Sort these numbers: {}.", "Sort {}.", "Put these numbers in order: {}."])
    listed = " ".join(map(str, items))
    return Sample("sort", [(ask.format(listed), " ".join(map(str, sorted(items))))], key=listed)


def reverse(rng):
    items = rng.sample(WORDS if rng.random() < 0.7 else [str(n) for n in range(10)], rng.randint(3, 5))
    ask = rng.choice(["Reverse this list: {}.", "Reverse {}.", "Say this backwards: {}."])
    listed = " ".join(items)
    return Sample("reverse", [(ask.format(listed), " ".join(reversed(items)))], key=listed)


def fact(rng):
    """What is known about somebody, and a question about it."""
    who = rng.choice(NAMES)
    if rng.random() < 0.5:
        code = rng.randrange(1000, 10000)
        text, ask, answer = f"The code of {who} is {code}.", f"What is the code of {who}?", f"The code of {who} is {code}."
    else:
        thing, color = rng.choice(THINGS), rng.choice(COLORS)
        text = f"{who} has a {color} {thing}."
        ask, answer = rng.choice(
            [
                (f"Who has the {thing}?", f"{who} has the {thing}."),
                (f"What does {who} have?", f"{who} has a {color} {thing}."),
                (f"What color is the {thing}?", f"The {thing} is {color}."),
            ]
        )
    return Sample("fact", [(f"{text} {ask}", answer)], key=f"{text} {ask}")


def a(noun):
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


@dataclass
class Plot:
    """What happens in a story."""

    name: str
    animal: str
    color: str
    thing: str
    place: str
    friend: str
    helper: str

    @staticmethod
    def draw(rng):
        (name, friend), (animal, helper) = rng.sample(NAMES, 2), rng.sample(ANIMALS, 2)
        return Plot(name, animal, rng.choice(COLORS), rng.choice(THINGS), rng.choice(PLACES), friend, helper)

    def sentences(self, rng):
        p = self
        begin = rng.choice(
            [
                f"{p.name} the {p.animal} lived near the {p.place}.",
                f"Once there was {a(p.animal)} called {p.name}.",
            ]
        )
        find = f"One {rng.choice(TIMES)} {p.name} found a {p.color} {p.thing} at the {p.place}."
        meet = rng.choice(
            [
                f"{p.friend} the {p.helper} came to see the {p.thing}.",
                f"{p.name} showed the {p.thing} to {p.friend} the {p.helper}.",
            ]
        )
        end = rng.choice(
            [
                f"{p.name} took the {p.color} {p.thing} home and was {rng.choice(FEELINGS)}.",
                f"{p.name} gave the {p.color} {p.thing} to {p.friend} and both were {rng.choice(FEELINGS)}.",
            ]
        )
        return [begin, find, meet, end]


def ask_about(plot, rng):
    p = plot
    return rng.choice(
        [
            (f"Who found the {p.thing}?", f"{p.name} found the {p.thing}."),
            (f"What did {p.name} find?", f"{p.name} found a {p.color} {p.thing}."),
            (f"Where was the {p.thing}?", f"The {p.thing} was at the {p.place}."),
            (f"What color was the {p.thing}?", f"The {p.thing} was {p.color}."),
            (f"Who is the {p.helper}?", f"The {p.helper} is {p.friend}."),
        ]
    )


def tell(plot, rng, free):
    """A request for a story; `free` of its parts are left to the model."""
    p = plot
    whole = f"Tell a story about {p.name} the {p.animal} and a {p.color} {p.thing} at the {p.place}."
    if not free:
        return whole, [p.name, p.animal, p.color, p.thing, p.place]
    return rng.choice(
        [
            (f"Tell a story about {p.name} the {p.animal}.", [p.name, p.animal]),
            (f"Tell a story about {a(p.animal)}.", [p.animal]),
            (f"Tell a story about a {p.color} {p.thing}.", [p.color, p.thing]),
            ("Tell me a story.", []),
        ]
    )


def question(rng):
    plot = Plot.draw(rng)
    text = " ".join(plot.sentences(rng))
    ask, answer = ask_about(plot, rng)
    if rng.random() < 0.5:
        return Sample("question", [(f"{text} {ask}", answer)], key=f"{text} {ask}")
    request, _ = tell(plot, rng, rng.random() < 0.5)
    return Sample("question", [(request, text), (ask, answer)], key=f"{text} {ask}")


def story(rng):
    plot = Plot.draw(rng)
    request, must = tell(plot, rng, rng.random() < 0.4)
    others = {"name": NAMES, "color": COLORS, "thing": THINGS, "place": PLACES}
    must_not = [w for kind in others.values() if any(m in kind for m in must) for w in kind if w not in must]
    # A friend also has a name: only what the story is about must stay the same.
    must_not = [w for w in must_not if w not in NAMES]
    # No grammar generates these: a name where a thing or a place belongs.
    must_not += [f"{word} {name}" for word in ("a", "the") for name in NAMES]
    return Sample("story", [(request, " ".join(plot.sentences(rng)))], must=must, must_not=must_not, key=request)


def gap(rng):
    """A story with two words missing that occur elsewhere in it."""
    plot = Plot.draw(rng)
    text = " ".join(plot.sentences(rng))
    words = f" {plot.color} {plot.thing}"
    at = rng.choice([at for at in range(len(text)) if text.startswith(words, at)])
    return Sample("gap", text=(text[:at], words, text[at + len(words) :]), key=text)


TALK = [
    ("Hello!", "Hello! What can I do for you?"),
    ("Hi!", "Hello! What can I do for you?"),
    ("Who are you?", "I am a tiny diffusion model that lives in this program."),
    ("What can you do?", "I can add, subtract, sort, reverse lists, remember facts and tell stories."),
    ("Thank you!", "You are welcome!"),
    ("Thanks!", "You are welcome!"),
    ("Goodbye!", "Goodbye!"),
]


def talk(rng):
    return Sample("talk", [rng.choice(TALK)])


MAKERS = {
    "sum": sum_,
    "difference": difference,
    "sort": sort,
    "reverse": reverse,
    "fact": fact,
    "question": question,
    "story": story,
    "gap": gap,
    "talk": talk,
}

# A gap in the middle needs a model that sees what follows it.
LEFT_OUT = {"sdar": ["gap"], "llada": [], "llada2": ["gap"]}

# How often each is trained, at first and later: a model has to learn to read and to copy before it can learn to count, and
# counting then takes longest.
EARLY = {
    "sum": 20, "difference": 20, "sort": 12, "reverse": 12, "fact": 4, "question": 12, "story": 8, "gap": 4, "talk": 1,
}  # fmt: skip
LATE = {
    "sum": 36, "difference": 30, "sort": 8, "reverse": 8, "fact": 8, "question": 12, "story": 36, "gap": 4, "talk": 1,
}  # fmt: skip

# For a second phase of training, on what the first one leaves weakest.
AGAIN = {
    "sum": 60, "difference": 40, "sort": 24, "reverse": 6, "fact": 6, "question": 12, "story": 24, "gap": 6, "talk": 1,
}  # fmt: skip


def training(rng, draw, conversations):
    """A sample of `draw`, a share of them with turns before it, so that a conversation works."""
    sample = draw(rng)
    if sample.turns and rng.random() < conversations:
        before = [draw(rng) for _ in range(rng.randint(1, 2))]
        sample.turns = [turn for earlier in before for turn in earlier.turns] + sample.turns
    return sample


def draw(rng, weights):
    while True:
        sample = MAKERS[rng.choices(list(weights), weights.values())[0]](rng)
        if sample.task == "talk" or not sample.held_out():
            return sample


def held_out(task, count, seed):
    """`count` held-out samples of `task`, none twice."""
    rng, seen = random.Random(f"{seed}/{task}"), {}
    for _ in range(1_000_000):
        sample = MAKERS[task](rng)
        if task == "story" and not sample.must_not:
            continue
        if sample.held_out() and sample.key not in seen:
            seen[sample.key] = sample
        if len(seen) == count:
            break
    return list(seen.values())
