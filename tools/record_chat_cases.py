"""Records tests/chat/cases.json: chat templates, conversations, and what Jinja2 makes of them.

Jinja2 is set up as the transformers library does for chat templates. Run in the repository root:
    python tools/record_chat_cases.py
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

ROOT = Path("tests/chat")
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}
THREE = [("system", 'Be <b>brief</b> & "kind".'), ("user", " Hi "), ("assistant", "<think>\nhm\n</think>\n\nYo\n")]
TALKS = {
    "user": [("user", "Hello?")],
    "three": THREE,
    "four": THREE + [("user", "{{ 1 + 1 }} \\n 'quoted' 語🙂")],
    "tool": THREE[:2] + [("tool", "42"), ("tool", "43"), ("assistant", "It is 42.")],
    "twice": [("system", "s"), ("user", "a"), ("user", "b")],
}
SNIPPETS = [
    "{{ messages | tojson }}",
    "{{ messages[0] | tojson(indent=2) }}",
    "{{ ['<', '\\\\u003c', \"it's\", 1.5, none, true] | tojson }}",
    "{{ messages[0].content | tojson(ensure_ascii=False) }}",
    "{{ true }} {{ none }} {{ 1 / 2 }} {{ 7 // 2 }} {{ [1, 'a'] }} {{ missing }}|{{ messages[0].missing }}",
    "{% for m in messages %}\n  {% if not loop.first %}\n  {{ m.role }}\n  {% endif %}\n{% endfor %}\nend\n\n",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{{ messages | map(attribute='role') | join(', ') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ (messages | last)['content'].strip().upper() }} {{ messages[-1]['role'].title() }} {{ messages[0].content[:4] }}",
    "{{ 'a,b,c'.split(',') | reverse | join('-') }} {{ 'a b'.replace(' ', '_') }} {{ 'xax'.strip('x') }} {{ 'ab'[::-1] }}",
    "{{ messages[0].get('role') }} {{ messages[0].get('x', 'none') }} {{ 'role' in messages[0] }} {{ messages[0].keys() | list }}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v | length }};{% endfor %}",
    "{{ tools is none }} {{ documents is defined }} {{ tools is defined and tools is not none }} {{ pad_token is defined }}",
    "{{ bos_token }}{{ eos_token }}{{ unk_token }} {{ bos_token + 'x' }} {{ add_generation_prompt }}",
    "{{ messages[0].content | replace('<b>', '') | trim | length }} {{ 'yes' if messages is iterable and messages is not mapping else 'no' }}",
    "{{- '\\n' -}} a {#- comment -#} b {{ '%s-%d' | format('x', 3) }} {{ 'é' | length }}",
    "{{ raise_exception('stop here') }}",
    "line one\nline two {{ messages.foo.bar }}",
    "{% if %}",
    "\n\n{{ unknown_function() }}",
    "{{ 'a' + 1 }}",
]


def talk(turns):
    return [{"role": role, "content": content} for role, content in turns]


def record(case):
    template = (ROOT / case["file"]).read_text() if "file" in case else case["template"]
    try:
        rendered, _ = render_jinja_template(
            [case["messages"]], chat_template=template, add_generation_prompt=case["add_generation_prompt"], **SPECIALS
        )
        case["rendered"] = rendered[0]
    except Exception as error:
        case["error"] = f"{type(error).__name__}: {error}"
    return case


def main():
    cases = []
    for path in sorted(ROOT.glob("*.jinja")):
        for name, turns in TALKS.items():
            for prompt in (False, True):
                cases.append({"file": path.name, "talk": name, "messages": talk(turns), "add_generation_prompt": prompt})
    for template in SNIPPETS:
        for name in ("user", "three"):
            cases.append({"template": template, "talk": name, "messages": talk(TALKS[name]), "add_generation_prompt": name == "user"})
    text = json.dumps({"specials": SPECIALS, "cases": [record(case) for case in cases]}, indent=1, ensure_ascii=False)
    (ROOT / "cases.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
