"""What people type into a program that has just been started: the demo's tasks in their own words, greetings, and everything else.

`tasks.py` asks in a few forms, which a person does not know. A model that is also trained on these samples understands the usual phrasings of its
tasks, and says about anything else that it does not know it. As in `tasks.py`, everything is generated from word lists.
"""

import string

import tasks
from tasks import Sample

REFUSAL = "I only know sums, lists, facts and stories. Try: What is 27 + 45?"
TOO_LARGE = "I only know numbers below 100."
ONLY_DIGITS = "I can only sort numbers from 0 to 9."

SUMS = [
    "What is {a} + {b}?", "What is {a} plus {b}?", "What's {a} + {b}?", "What's {a} plus {b}?", "How much is {a} + {b}?",
    "How much is {a} plus {b}?", "{a} + {b}", "{a} + {b} = ?", "{a} + {b} =", "{a} + {b}?", "{a} plus {b}", "{a} plus {b}?", "Add {a} and {b}.",
    "Add {a} to {b}.", "Add {a} + {b}", "Calculate {a} + {b}.", "Compute {a} + {b}", "Solve {a} + {b}", "Sum of {a} and {b}",
    "What is the sum of {a} and {b}?", "Sum {a} and {b}", "Sum up {a} and {b}.", "Can you add {a} and {b}?", "Please add {a} and {b}.", "What does {a} + {b} equal?", "{a} and {b} together",
    "Tell me {a} + {b}", "Can you tell me what {a} + {b} is?", "What do you get if you add {a} and {b}?",
]  # fmt: skip
DIFFERENCES = [
    "What is {a} - {b}?", "What is {a} minus {b}?", "What's {a} - {b}?", "What's {a} minus {b}?", "How much is {a} - {b}?",
    "How much is {a} minus {b}?", "{a} - {b}", "{a} - {b} = ?", "{a} - {b} =", "{a} - {b}?", "{a} minus {b}", "{a} minus {b}?",
    "Take {b} from {a}.", "Subtract {b} from {a}.", "Take {b} away from {a}.", "Calculate {a} - {b}.", "Compute {a} - {b}", "Solve {a} - {b}",
    "What is the difference of {a} and {b}?", "Can you subtract {b} from {a}?", "Please take {b} from {a}.", "What does {a} - {b} equal?",
    "Tell me {a} - {b}",
]  # fmt: skip
SORTS = [
    "Sort these numbers: {}.", "Sort {}.", "Put these numbers in order: {}.", "Sort {}", "Sort: {}", "Sort the numbers {}.", "Sort this list: {}.",
    "Sort this: {}", "Sort the list {}.", "Please sort {}.", "Can you sort {}?", "Can you sort these numbers: {}?", "Order these numbers: {}.",
    "Put {} in order.", "Order {}", "Arrange {} in order.", "Sort these: {}", "{} sorted", "What is {} in order?", "Sort the numbers: {}",
]  # fmt: skip
REVERSES = [
    "Reverse this list: {}.", "Reverse {}.", "Say this backwards: {}.", "Reverse {}", "Reverse: {}", "Reverse the list {}.", "Please reverse {}.",
    "Can you reverse {}?", "Say {} backwards.", "{} backwards", "Reverse these words: {}.", "Turn this list around: {}.", "Reverse the words {}.",
    "Reverse this: {}",
]  # fmt: skip
STORIES = [
    "Tell a story about {}.", "Tell me a story about {}.", "A story about {}", "Write a story about {}.", "Can you tell a story about {}?",
    "Story about {}", "Please tell me a story about {}.", "Tell me about {}.", "I want a story about {}.", "Make up a story about {}.",
    "Write a short story about {}.", "Can you tell me a story about {}?",
]  # fmt: skip
ANY_STORY = [
    "Tell me a story.", "Tell a story.", "A story, please.", "Write a story.", "Can you tell me a story?", "Story", "Tell me another story.",
    "Tell me a short story.", "I want to hear a story.", "Write me a story.", "Please tell me a story.", "Another story", "Once upon a time",
]  # fmt: skip

TALK = {
    "Hello! What can I do for you?": [
        "Hello!", "Hi!", "Hello", "Hi", "Hey", "Hey!", "Hello there!", "Hi there", "Good morning!", "Good evening", "Good afternoon", "Greetings!",
        "Howdy", "Yo", "Hello world", "Hello, world!", "Hiya", "Hey there", "Hello?", "Anyone there?", "Are you there?", "Hallo", "Good day",
    ],
    "I am fine. What can I do for you?": [
        "How are you?", "How are you doing?", "How do you do?", "How is it going?", "What's up?", "How are you today?", "Are you ok?", "How's it going?",
        "Hello, how are you?", "Hi, how are you?", "Hi! How are you doing?",
    ],
    "I am a tiny diffusion model that lives in this program.": [
        "Who are you?", "What are you?", "What is your name?", "What's your name?", "Who is this?", "Are you a bot?", "Are you an AI?", "Are you human?",
        "Which model are you?", "What model are you?", "Tell me about yourself.", "Are you a language model?", "Introduce yourself.", "Who made you?",
        "What is this?", "Do you have a name?", "Are you real?", "What kind of model are you?", "Are you a robot?", "Are you ChatGPT?", "Your name?",
        "How big are you?", "How many parameters do you have?", "Who am I talking to?",
    ],
    "I can add, subtract, sort, reverse lists, remember facts and tell stories.": [
        "What can you do?", "Help", "Help!", "Help me", "?", "What do you know?", "What can I ask you?", "What should I ask?", "How can you help me?",
        "What are you good at?", "Can you help me?", "How do I use this?", "What can you do for me?", "What do you do?", "What now?", "Usage", "Menu",
        "What else can you do?", "Commands", "What are your skills?", "What can I do here?", "Show me what you can do.", "Test", "Testing", "This is a test",
        "Do something", "Can you do anything?", "What can you tell me?", "Surprise me", "Options",
    ],
    "You are welcome!": [
        "Thank you!", "Thanks!", "Thanks", "Thank you", "Thx", "Thank you very much!", "Thanks a lot!", "Great, thanks!", "Great!", "Nice!", "Cool", "Well done!",
        "Good job!", "Good", "Perfect!", "Wow", "Nice one", "Awesome", "Ok", "Okay", "Fine", "That is right.", "Correct", "Very good",
    ],
    "Goodbye!": ["Goodbye!", "Bye", "Bye!", "Bye bye", "See you!", "See you later", "Good night!", "Good night", "Exit", "Quit", "Stop", "Ciao", "End"],
}  # fmt: skip

# What other models are asked. Half of the words of a sample come from here, the others are made up.
TOPICS = """
sky sun moon stars ocean water fire earth wind rain snow ice cloud weather climate France Germany Italy Spain England America China Japan India Africa
Paris London Berlin Rome Tokyo music piano guitar song film movie book novel poem poetry joke riddle game chess football tennis sport running health
food pizza pasta bread cheese coffee tea soup cake recipe dinner breakfast lunch money bank price stock market business company work job school
university history war peace king queen president government law country city language English French German Spanish Latin grammar word letter
Python Rust Java code program function computer internet website server database algorithm loop array string variable bug error compiler
math algebra geometry physics gravity energy light atom electron quantum chemistry biology cell gene brain heart blood body doctor medicine
love life death time space universe planet Mars Venus galaxy black hole dinosaur elephant tiger lion whale shark eagle snake spider insect tree flower
grass mountain desert island beach train car plane bike ship road bridge house door window table chair kitchen garden party birthday holiday
Christmas gift friend family mother father brother sister baby child man woman people world news today tomorrow yesterday year month week hour
Einstein Newton Darwin Shakespeare Mozart Napoleon Caesar Plato diffusion transformer attention neural network learning model data token
""".split()
OTHERS = [
    "Why is the {} {}?", "What is the {} of {}?", "What is {}?", "What is a {}?", "What are {}?", "Who was {}?", "Who is {}?", "Who invented the {}?",
    "Where is {}?", "Where is the {}?", "When was {} born?", "When is {}?", "How do I {} a {}?", "How does a {} work?", "How many {} are in a {}?",
    "How old is {}?", "How far is the {}?", "How can I learn {}?", "Explain {}.", "Explain {} to a child.", "Explain how {} works.", "Describe a {}.",
    "Describe the {} in one sentence.", "Write a poem about {}.", "Write a poem.", "Write an email to my {}.", "Write a {} function in {}.",
    "Write code for a {}.", "Write a haiku about the {}.", "Write an essay about {} and {}.", "Translate {} to {}.", "Translate '{} {}' into {}.",
    "Tell me a joke.", "Tell me a joke about {}.", "Tell me about {}.", "Tell me something about {} and {}.", "Give me a recipe for {}.",
    "Give me three ideas for {}.", "List five {}.", "Name a {}.", "Is {} a {}?", "Is the {} {}?", "Do you like {}?", "Do you know {}?", "Do you speak {}?",
    "Can you write {}?", "Can you explain {}?", "Can you help me with my {}?", "Should I buy a {}?", "What do you think about {}?", "I like {}.",
    "I need a {}.", "I have a question about {}.", "My {} is {}.", "The {} is {}.", "{} or {}?", "{}", "{} {}", "{} {} {}", "{}?", "{}!", "{} {}?", "please {}",
    "Summarize {}.", "Fix this {}.", "What time is it?", "What day is it?", "What is the weather like?", "What is the capital of {}?", "What is the meaning of {}?",
    "What is the best {}?", "What is the difference between {} and {}?", "What color is the {}?", "What does {} mean?", "Which {} is the best?",
    "What happened in {}?", "Why do {} {}?", "Why?", "How?", "Yes", "No", "Maybe", "Continue", "Go on", "More", "I am {}.", "I am bored.", "I love you.",
    "You are {}.", "Sing a song about {}.", "Play {}.", "Draw a {}.", "Let's talk about {}.", "Compare {} and {}.", "Define {}.", "Spell {}.", "Say {}.",
    "Repeat after me: {}", "Count to {}.", "Convert {} to {}.", "Who won the {}?", "Who wrote {}?", "Recommend a {}.", "Tell a story about a {}.",
    "Tell me a story about the {}.", "Tell a story about {} and {}.", "Sort the {} and the {}.", "How much is a {}?", "How much is the {}?", "Add a {} to the {}.",
    "Reverse the {}.", "What is {} plus {}?", "Who has the {}?", "Where was the {}?", "What did {} find?",
]  # fmt: skip
# Sums that it was not taught.
MATHS = [
    "What is {a} * {b}?", "{a} * {b}", "{a} x {b}", "{a}*{b}", "What is {a} times {b}?", "{a} times {b}", "{a} / {b}", "What is {a} / {b}?", "{a}/{b}",
    "What is {a} divided by {b}?", "What is the square root of {a}?", "Is {a} a prime number?", "{a}^{b}", "What is {a} squared?", "{a}% of {b}", "{a}", "{a} {b}",
    "Multiply {a} by {b}.", "Divide {a} by {b}.", "Half of {a}", "Double {a}.", "Is {a} larger than {b}?", "{a}!", "What is {a}?", "{a} < {b}",
]  # fmt: skip


def made_up(rng):
    """A word that is in no list."""
    letters = lambda n: "".join(rng.choice(string.ascii_lowercase) for _ in range(n))
    syllables = "".join(rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou") + rng.choice(["", "n", "r", "s", "t"]) for _ in range(rng.randint(1, 3)))
    return syllables if rng.random() < 0.8 else letters(rng.randint(1, 7))


def word(rng):
    return rng.choice(TOPICS) if rng.random() < 0.5 else made_up(rng)


def typed(rng, text):
    """As people type it: often without capitals or the mark at the end."""
    if rng.random() < 0.35:
        text = text.lower()
    if rng.random() < 0.35:
        text = text.rstrip("?.!") or text
    if rng.random() < 0.04:
        text = f"Please {text[:1].lower()}{text[1:]}"
    return text


def spaced(rng, text):
    """The signs of a sum, sometimes without spaces."""
    if rng.random() < 0.4:
        for sign in "+-=":
            text = text.replace(f" {sign} ", sign).replace(f" {sign}", sign)
    return text


def sum_(rng):
    a, b = tasks.operands(rng)
    return Sample("sum", [(typed(rng, spaced(rng, rng.choice(SUMS).format(a=a, b=b))), f"{a} + {b} = {a + b}.")], key=f"{a},{b}")


def difference(rng):
    a, b = tasks.operands(rng)
    if rng.random() < 0.8:
        a, b = max(a, b), min(a, b)
    return Sample("difference", [(typed(rng, spaced(rng, rng.choice(DIFFERENCES).format(a=a, b=b))), f"{a} - {b} = {a - b}.")], key=f"{a},{b}")


def listed(rng, items):
    separator = rng.choice([" ", " ", ", ", ", ", ","])
    text = separator.join(items)
    if rng.random() < 0.15:
        text = f"{', '.join(items[:-1])} and {items[-1]}"
    return f"[{text}]" if rng.random() < 0.08 else text


def sort(rng):
    items = [str(rng.randrange(10)) for _ in range(rng.randint(2, 6))]
    ask = typed(rng, rng.choice(SORTS).format(listed(rng, items)))
    return Sample("sort", [(ask, " ".join(sorted(items)))], key=" ".join(items))


def reverse(rng):
    items = rng.sample(tasks.WORDS if rng.random() < 0.7 else [str(n) for n in range(10)], rng.randint(2, 5))
    ask = typed(rng, rng.choice(REVERSES).format(listed(rng, items)))
    given = [item.lower() for item in items] if ask == ask.lower() else items
    return Sample("reverse", [(ask, " ".join(reversed(given)))], key=" ".join(items))


def story(rng):
    plot = tasks.Plot.draw(rng)
    about = [f"{plot.name} the {plot.animal}", tasks.a(plot.animal), f"the {plot.animal}", f"a {plot.color} {plot.thing}", plot.name, f"{plot.name} the {plot.animal}"]
    ask = rng.choice(STORIES).format(rng.choice(about)) if rng.random() < 0.75 else rng.choice(ANY_STORY)
    return Sample("story", [(typed(rng, ask), " ".join(plot.sentences(rng)))], key=ask)


def name(rng):
    """A fact about the user."""
    who = rng.choice(tasks.NAMES)
    tell = rng.choice(["My name is {}.", "I am {}.", "Hello, my name is {}.", "Hi, I am {}."]).format(who)
    ask = rng.choice(["What is my name?", "Who am I?", "What's my name?", "Do you know my name?"])
    answer = f"Your name is {who}."
    if rng.random() < 0.5:
        return Sample("name", [(typed(rng, f"{tell} {ask}"), answer)], key=who)
    return Sample("name", [(typed(rng, tell), f"Hello, {who}! What can I do for you?"), (typed(rng, ask), answer)], key=who)


def fact(rng):
    sample = tasks.fact(rng)
    (ask, answer), *_ = sample.turns
    return Sample("fact", [(ask.rstrip("?") if rng.random() < 0.3 else ask, answer)], key=sample.key)


def talk(rng):
    answer = rng.choice(list(TALK))
    return Sample("talk", [(typed(rng, rng.choice(TALK[answer])), answer)])


def other(rng):
    """Everything else."""
    kind = rng.random()
    if kind < 0.12:
        ask = rng.choice(MATHS).format(a=rng.randrange(100), b=rng.randrange(100))
        return Sample("other", [(typed(rng, ask), REFUSAL)])
    if kind < 0.17:
        a, b = rng.randrange(100, 10 ** rng.randint(3, 6)), rng.randrange(10 ** rng.randint(1, 6))
        a, b = rng.sample([a, b], 2)
        return Sample("other", [(typed(rng, spaced(rng, rng.choice(SUMS + DIFFERENCES).format(a=a, b=b))), TOO_LARGE)])
    if kind < 0.22:
        items = [str(rng.randrange(10 ** rng.randint(1, 3))) for _ in range(rng.randint(2, 5))] + [str(rng.randrange(10, 1000))]
        rng.shuffle(items)
        return Sample("other", [(typed(rng, rng.choice(SORTS).format(listed(rng, items))), ONLY_DIGITS)])
    form = rng.choice(OTHERS)
    ask = form.format(*(word(rng) for _ in range(form.count("{}"))))
    if rng.random() < 0.1:
        ask = f"{ask} {rng.choice(OTHERS).format(*(word(rng) for _ in range(3)))}"
    return Sample("other", [(typed(rng, ask), REFUSAL)])


MAKERS = {
    "sum": sum_, "difference": difference, "sort": sort, "reverse": reverse, "fact": fact, "story": story, "name": name, "talk": talk, "other": other,
}  # fmt: skip
WEIGHTS = {"sum": 64, "difference": 44, "sort": 36, "reverse": 20, "fact": 6, "story": 14, "name": 4, "talk": 20, "other": 30}

# First questions of a new user, with the answer or what has to be in it. Except for greetings, which can be said in only so many ways, they are
# never trained on.
HELLO, SELF, ABLE, WELCOME, BYE = (next(iter(k for k in TALK if k.startswith(w))) for w in ("Hello", "I am a tiny", "I can add", "You are", "Good"))
FIRST = [
    ("hello", HELLO), ("hi", HELLO), ("Hey there!", HELLO), ("good morning", HELLO), ("how are you?", "I am fine. What can I do for you?"),
    ("bye", BYE), ("thanks", WELCOME), ("who are you", SELF), ("what's your name?", SELF), ("what can you do", ABLE), ("help", ABLE), ("test", ABLE),
    ("What is 2+2?", "2 + 2 = 4."), ("2+2", "2 + 2 = 4."), ("What is 27+45?", "27 + 45 = 72."), ("How much is 27 + 45?", "27 + 45 = 72."),
    ("27 plus 45", "27 + 45 = 72."), ("what's 8 + 5", "8 + 5 = 13."), ("add 12 and 30", "12 + 30 = 42."), ("sum of 14 and 25", "14 + 25 = 39."),
    ("10 - 3", "10 - 3 = 7."), ("What is 72 minus 45?", "72 - 45 = 27."), ("72-45", "72 - 45 = 27."), ("subtract 4 from 9", "9 - 4 = 5."),
    ("3 - 5", "3 - 5 = -2."), ("What is 123 + 456?", [TOO_LARGE]), ("12 * 3", [REFUSAL]), ("What is 7 times 8?", [REFUSAL]),
    ("Sort 9 3 7 1", "1 3 7 9"), ("sort 5, 2, 8", "2 5 8"), ("Sort these numbers: 7, 3, 9, 1", "1 3 7 9"), ("put 4 1 3 in order", "1 3 4"),
    ("sort [3, 1, 2]", "1 2 3"), ("order 8 6 7", "6 7 8"), ("Can you sort 6 5 4 3?", "3 4 5 6"), ("Sort these numbers: 42 7 19.", ["I can only"]),
    ("reverse fox lamp red", "red lamp fox"), ("Reverse: book, key, hat", "hat key book"), ("say red green blue backwards", "blue green red"),
    ("reverse 1 2 3", "3 2 1"), ("Reverse this list: Mia Tom Anna", "Anna Tom Mia"),
    ("tell me a story", ["found"]), ("Tell me a story about a fox", ["fox"]), ("story about Mia the cat", ["Mia", "cat"]),
    ("write a story about a dog", ["dog"]), ("A story about Tom, please", ["Tom"]), ("tell a story about a red kite", ["red kite"]),
    ("The code of Anna is 1234. What is the code of Anna?", "The code of Anna is 1234."), ("Mia has a red kite. What does Mia have", "Mia has a red kite."),
    ("My name is Tom. What is my name?", "Your name is Tom."),
    *((ask, ["I only know"]) for ask in [
        "Why is the sky blue?", "What is the capital of France?", "Write a poem about the sea", "Tell me a joke", "What is the meaning of life?",
        "Translate hello to French", "Who was Albert Einstein?", "Write a Python function that adds two numbers", "How do I bake a cake?",
        "What time is it?", "asdf", "Explain quantum computing", "Is the earth flat?", "What is diffusion?",
    ]),
]  # fmt: skip


def training(question):
    """Whether a question may be trained on."""
    return all(question != first for first, _ in FIRST)


def draw(rng):
    """A sample whose question is neither held out nor one of the first."""
    while True:
        sample = MAKERS[rng.choices(list(WEIGHTS), WEIGHTS.values())[0]](rng)
        free = sample.task in ("talk", "other", "name", "story") or not sample.held_out()
        if sample.task == "talk" or free and all(training(question) for question, _ in sample.turns):
            return sample
