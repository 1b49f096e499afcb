"""Makes demo/decisions.jsonl from the held-out questions whose answers are a number or one of a few words.

    python3 tools/demo/decisions.py < demo/sdar/quality.jsonl > demo/decisions.jsonl
"""

import json
import re
import sys

from tasks import COLORS, NAMES, THINGS

# What an answer looks like: the words before the gap, the gap, and the labels.
FORMS = [
    (r"(\d+ \+ \d+ = )(\d+)\.", {"score": {"min": 0, "max": 198}}),
    (r"(\d+ - \d+ = )(\d+)\.", {"score": {"min": 0, "max": 99}}),
    (r"(The \w+ (?:is|was) )(\w+)\.", {"options": COLORS}),
    (r"(\w+ (?:has|found) an? \w+ )(\w+)\.", {"options": THINGS}),
    (r"()(\w+) (?:has|found) the \w+\.", {"options": NAMES}),
]


def decision(question):
    """The decision of a question with one turn, or None."""
    if len(question.get("messages", [])) != 1 or "expect" not in question:
        return None
    for pattern, kind in FORMS:
        match = re.fullmatch(pattern, question["expect"])
        labels = kind.get("options")
        if match and (labels is None or match[2] in labels):
            asked = {**kind, "lead": match[1]}
            state = question["messages"][0]["content"]
            return {"task": question["task"], "state": state, "prompt": "{state}", "questions": {"q": asked}, "expect": {"q": match[2]}}
    return None


for line in sys.stdin:
    if found := decision(json.loads(line)):
        print(json.dumps(found))
