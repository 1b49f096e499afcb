"""Records what transformers prints for chat templates: tests/chat/cases.json (whole templates) and tests/chat/snippets.json (one
construct each, from tools/chat_snippets.py). tests/chat.rs compares the library with both, without Python.

Run in the repository root, with transformers 4.53.3 and Jinja2 3.1.6:
    python tools/record_chat_cases.py
"""

import json
from pathlib import Path

from chat_snippets import snippets
from transformers.utils.chat_template_utils import render_jinja_template

ROOT = Path("tests/chat")
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "mask_token": "<|MASK|>", "additional_special_tokens": ["<a>", "<b>"]}
THREE = [("system", 'Be <b>brief</b> & "kind".'), ("user", " Hi "), ("assistant", "<think>\nhm\n</think>\n\nYo\n")]
TALKS = {
    "user": [("user", "Hello?")],
    "three": THREE,
    "four": THREE + [("user", "{{ 1 + 1 }} \\n 'quoted' 語🙂")],
    "tool": THREE[:2] + [("tool", "42"), ("tool", "43"), ("assistant", "It is 42.")],
    "twice": [("system", "s"), ("user", "a"), ("user", "b")],
}


def render(template, talk, prompt):
    """What the template prints, or why it does not."""
    messages = [{"role": role, "content": content} for role, content in TALKS[talk]]
    try:
        rendered, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=prompt, **SPECIALS)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    # An address is different in the next run.
    if " at 0x" in rendered[0] or len(rendered[0]) > 10_000:
        return None, "an address, or too long a text"
    return rendered[0], None


def write(path, head, rows):
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(head + lines + "\n]" + ("}" if head.startswith("{") else "") + "\n", newline="")


def main():
    messages = {name: [{"role": role, "content": content} for role, content in turns] for name, turns in TALKS.items()}
    head = json.dumps({"specials": SPECIALS, "talks": messages}, ensure_ascii=False)[:-1] + ',\n"cases": [\n'
    cases = []
    for path in sorted(ROOT.glob("*.jinja")):
        for talk in TALKS:
            for prompt in (False, True):
                rendered, error = render(path.read_text(), talk, prompt)
                cases.append({"file": path.name, "talk": talk, "add_generation_prompt": prompt, "rendered": rendered, "error": error})
    write(ROOT / "cases.json", head, cases)
    rows = []
    for template in dict.fromkeys(snippets()):
        rendered, error = render(template, "three", True)
        rows.append([template, rendered] if error is None else [template, None, error])
    write(ROOT / "snippets.json", "[\n", rows)


if __name__ == "__main__":
    main()
