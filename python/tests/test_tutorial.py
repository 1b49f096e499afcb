"""The programs of docs/python.md and python/README.md run as they are written, in the root of the repository."""

import importlib.util
import os
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("diffulex") is None:
    sys.path.insert(0, str(ROOT / "python"))


class Documents(unittest.TestCase):
    def run_document(self, name, blocks):
        programs = re.findall("```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        self.assertEqual(len(programs), blocks, name)
        before = os.getcwd()
        os.chdir(ROOT)
        self.addCleanup(os.chdir, before)
        names = {"__name__": "tutorial"}
        for program in programs:
            if program.startswith("# needs numpy") and importlib.util.find_spec("numpy") is None:
                print(f"skipped: the arrays of {name} (numpy is not installed)", file=sys.stderr)
                continue
            exec(compile(program, name, "exec"), names)

    def test_the_tutorial(self):
        self.run_document("docs/python.md", 14)

    def test_the_readme(self):
        self.run_document("python/README.md", 1)


if __name__ == "__main__":
    unittest.main(buffer=True)
