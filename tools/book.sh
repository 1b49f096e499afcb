#!/usr/bin/env bash
# Makes one book of the documents, target/book/index.html, and checks every link in it. `tools/book.sh --check` checks the links of the
# documents only, which needs no mdbook.
#
# The pages have the same paths in the book as in the repository, so links between them are the same in both.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/book-source
rm -rf "$work"
mkdir -p "$work/src"
cp docs/book/book.toml "$work"
cp docs/book/SUMMARY.md "$work/src"
# Pages, and what they show.
mapfile -t pages < <(sed -n 's/.*](\([^)]*\.md\)).*/\1/p' docs/book/SUMMARY.md)
for file in "${pages[@]}" $(git ls-files 'docs/*.svg' 'docs/*.png' 'docs/*.webp'); do
    mkdir -p "$work/src/$(dirname "$file")"
    cp "$file" "$work/src/$file"
done

# Every page of the repository is in the book, and every link of a page leads to a file that is there, to its heading if it names one.
python3 - "${pages[@]}" <<'END'
import pathlib, re, subprocess, sys

pages = sys.argv[1:]
wrong = []
listed = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True).stdout.split()
left_out = {"docs/book/SUMMARY.md", "python/README.md"}
wrong += [f"{page} is not in docs/book/SUMMARY.md" for page in listed if page not in pages and page not in left_out and not page.startswith("tests/")]


def plain(text):
    """A page without blocks of code, whose parentheses are not links."""
    return re.sub(r"`[^`]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M))


def anchors(page):
    heads = re.findall(r"^#+ +(.*)$", re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[^\w -]", "", re.sub(r"\]\([^)]*\)", "", head)).strip().lower().replace(" ", "-") for head in heads}


count = 0
for page in pages:
    for link in re.findall(r"\]\(([^)\s]+)\)", plain(pathlib.Path(page).read_text())):
        if re.match(r"https?:|mailto:", link):
            continue
        count += 1
        path, _, anchor = link.partition("#")
        target = pathlib.Path(page).parent / path if path else pathlib.Path(page)
        if not target.exists():
            wrong.append(f"{page}: {link} leads to nothing")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            wrong.append(f"{page}: {link}: no such heading")
if wrong:
    sys.exit("\n".join(wrong))
print(f"{len(pages)} pages, {count} links")
END
[ "${1:-}" != --check ] || exit 0
if ! command -v mdbook >/dev/null; then
    echo "skipped: the book (cargo install mdbook --locked)"
    exit 0
fi
mdbook build "$work" --dest-dir "$PWD/target/book"
echo "target/book/index.html"
