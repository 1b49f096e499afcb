#!/usr/bin/env python3
"""Draws a recorded generation as an animated SVG: `diffulex-run --trace t.json ...; tools/picture.py t.json -o canvas.svg`.

The picture shows what the live canvas shows: masks, tokens in the colour of their confidence as they are revealed, and plain
text once their block is finished. Every forward pass takes the same time in it. Standard library only.
"""

import argparse
import json
from html import escape

COLUMNS, CELL, LINE, MARGIN = 72, 8.43, 21, 18
STEP, HOLD = 0.45, 5.0  # seconds that a pass takes, and that the finished text stays
STYLE = """
text { font: 14px ui-monospace, 'SFMono-Regular', Menlo, Consolas, monospace; white-space: pre; fill: var(--text); }
svg { --page: #ffffff; --edge: #d0d7de; --text: #1f2328; --dim: #8c959f; --sure: #0a6ebd; --fair: #8250df; --unsure: #bc4c00; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --edge: #30363d; --text: #e6edf3; --dim: #6e7681; --sure: #58a6ff; --fair: #bc8cff; --unsure: #ffa657; }
}
.dim { fill: var(--dim); }
"""


def colour(score):
    return "--sure" if score >= 0.9 else "--fair" if score >= 0.6 else "--unsure"


def cells(text):
    return len(text)


class Picture:
    def __init__(self, trace):
        self.trace, self.elements, self.rules = trace, [], []
        self.passes = [p for p in trace["passes"] if p["kind"] != "prefill"]
        self.seconds = STEP * (len(self.passes) + 1) + HOLD
        self.x = self.y = 0

    def percent(self, step):
        return round(100 * STEP * step / self.seconds, 3)

    def rule(self, name, frames):
        """An animation that jumps from one property value to the next at the given steps."""
        # Each value stays until just before the next: not every viewer respects a timing function of steps.
        frames = [frame for frame, after in zip(frames, frames[1:] + [(None, "")]) if frame[0] != after[0]]
        ends = [self.percent(step) - 0.01 for step, _ in frames[1:]] + [100]
        body = " ".join(f"{self.percent(step)}%, {end:.3f}% {{ {value} }}" for (step, value), end in zip(frames, ends))
        self.rules.append(f"@keyframes {name} {{ {body} }}")
        return f"animation: {name} {self.seconds:.2f}s linear infinite"

    def put(self, text, style="", kind=""):
        """Text at the cursor, wrapped where a terminal of COLUMNS columns would."""
        if "\n" in text:
            before, after = text.split("\n", 1)
            self.put(before, style, kind)
            self.x, self.y = 0, self.y + 1
            return self.put(after, style, kind)
        word = text.lstrip(" ")
        if self.x + cells(text) > COLUMNS:
            self.x, self.y, text = 0, self.y + 1, word
        if text:
            x, y = MARGIN + self.x * CELL, MARGIN + (self.y + 1) * LINE - 6
            length = f' textLength="{cells(text) * CELL:.2f}"'
            attributes = (f' class="{kind}"' if kind else "") + (f' style="{style}"' if style else "")
            self.elements.append(f'<text x="{x:.2f}" y="{y}"{length}{attributes}>{escape(text)}</text>')
        self.x += cells(text)

    def question(self, text):
        self.put(f"> {text}")
        self.x, self.y = 0, self.y + 2

    def answer(self):
        revealed = {r["pos"]: (step, r) for step, p in enumerate(self.passes, 1) for r in p["revealed"]}
        start, end = len(self.trace["prompt"]["ids"]), self.trace["answer_end"]
        blocks = [(step, *p["block"]) for step, p in enumerate(self.passes, 1) if "block" in p]
        for pos in range(start, end):
            step, token = revealed[pos]
            # Its mask is there from the first pass over its block on.
            seen = next((s for s, p in enumerate(self.passes) if p["rows"][0] <= pos < p["rows"][1]), step - 1)
            done = next((s for s, first, last in blocks if first <= pos < last), step)
            at, line = self.x, self.y
            word = token["text"].lstrip(" ")
            mask = " " * (len(token["text"]) - len(word)) + "░" * len(word.strip("\n"))
            frames = [(0, "visibility: hidden"), (seen, "visibility: visible"), (step, "visibility: hidden")]
            self.put(mask, self.rule(f"m{pos}", frames), "dim")
            self.x, self.y = at, line
            frames = [(0, "visibility: hidden"), (step, f"visibility: visible; fill: var({colour(token['score'])})")]
            frames += [(max(done, step) + 1, "visibility: visible; fill: var(--text)")]
            self.put(token["text"], self.rule(f"t{pos}", frames))
        self.x, self.y = 0, self.y + 2

    def caption(self):
        summary = self.trace["summary"]
        self.put(
            f"{summary['new_tokens']} tokens in {summary['nfe'] - summary['prefill_passes']} forward passes, "
            f"{summary['tokens_per_forward']:.1f} tokens per forward pass",
            self.rule("caption", [(0, "visibility: hidden"), (len(self.passes) + 1, "visibility: visible")]),
            "dim",
        )

    def svg(self):
        width, height = 2 * MARGIN + COLUMNS * CELL, 2 * MARGIN + (self.y + 1) * LINE
        size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
        page = f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8" fill="var(--page)" stroke="var(--edge)"/>'
        style = f"<style>{STYLE}{chr(10).join(self.rules)}</style>"
        title = "<title>A diffusion language model unmasks its answer block by block</title>"
        return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', title, style, page, *self.elements, "</svg>\n"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--question", required=True, help="what was asked, as the picture shows it")
    args = parser.parse_args()
    with open(args.trace, encoding="utf-8") as file:
        picture = Picture(json.load(file))
    picture.question(args.question)
    picture.answer()
    picture.caption()
    with open(args.output, "w", encoding="utf-8") as file:
        file.write(picture.svg())


if __name__ == "__main__":
    main()
