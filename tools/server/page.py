"""The page of a running server in a headless Chromium: page.py http://HOST:PORT [--picture FILE]

Needs the package playwright, and its Chromium (playwright install chromium) or one of the system. Prints a line for each check; exit code 1
at the first that fails. The server has to have the demo model.
"""

import argparse
import shutil
import sys

try:
    from playwright.sync_api import Error, sync_playwright
except ImportError:
    print("SKIPPED: the page, no playwright")
    sys.exit(0)

SYSTEM = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
STORY = "Tell a story about Mia the fox."


def check(name, holds, found):
    print(f"{'ok  ' if holds else 'FAIL'} page: {name}")
    if not holds:
        sys.exit(f"found: {found!r}")


def browser(playwright):
    """A Chromium, or None."""
    paths = [None, *filter(None, map(shutil.which, SYSTEM))]
    for path in paths:
        try:
            return playwright.chromium.launch(executable_path=path)
        except Error:
            continue
    return None


def opened(chromium, base, scheme):
    """A page, and the addresses of all its requests."""
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 760, "height": 460})
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.goto(base)
    # The demo model answers faster than the eye; a slow network shows what happens in between.
    network = {"offline": False, "latency": 0, "downloadThroughput": 16_000, "uploadThroughput": -1}
    context.new_cdp_session(page).send("Network.emulateNetworkConditions", network)
    # The page forbids scripts made from strings, which waiting for an expression would need.
    page.locator("#model:has-text('context')").wait_for()
    # How many places of the canvas were seen as masks and as tokens.
    page.evaluate("""() => {
        window.seen = { mask: 0, new: 0 };
        new MutationObserver(() => { for (const kind in seen)
            seen[kind] = Math.max(seen[kind], document.querySelectorAll('.assistant .' + kind).length);
        }).observe(document.getElementById('talk'), { childList: true, subtree: true, attributes: true });
    }""")
    return page, asked, wrong


def ask(page, text):
    page.fill("#text", text)
    page.keyboard.press("Enter")


def answered(page):
    page.locator("#send:text-is('Send')").wait_for()
    return page.locator(".assistant").last.text_content()


def converse(page):
    ask(page, "What is 27 + 45?")
    text = answered(page)
    check("an answer", "72" in text, text)
    facts = page.locator(".facts").last.text_content()
    check("what it took", "tokens per pass" in facts, facts)
    seen = page.evaluate("seen")
    check("the canvas is shown", seen["new"] > 0, seen)
    ask(page, STORY)
    story = answered(page)
    seen = page.evaluate("seen")
    check("a second turn, with masks between tokens", len(story) > 20 and seen["mask"] > 0, (story, seen))


def settings(page, **values):
    if not page.locator("#seed").is_visible():
        page.locator("summary").click()
    for name, value in values.items():
        page.fill(f"#{name}", str(value))


def stop(page):
    # So high a temperature that hardly an answer ends by itself.
    settings(page, temperature=50, max_tokens=400, seed=1)
    before = page.locator(".assistant").count()
    ask(page, STORY)
    page.locator(".assistant").nth(before).locator(".new").first.wait_for(state="attached")
    page.click("#send:text-is('Stop')")
    answered(page)
    facts = page.locator(".facts").last.text_content()
    check("a long answer is stopped", facts == "stopped", facts)
    settings(page, temperature="", max_tokens="", seed="")
    page.locator("summary").click()
    page.click("#clear")
    ask(page, "What is 27 + 45?")
    text = answered(page)
    check("the next one is answered", "72" in text, text)


def picture(chromium, base, path):
    """A conversation whose second answer is in the middle of its canvas."""
    page, *_ = opened(chromium, base, "light")
    ask(page, "What is 27 + 45?")
    answered(page)
    # The page as it is shown when this many tokens are there.
    page.evaluate("""() => new MutationObserver(() => {
        const turn = [...document.querySelectorAll('.assistant')].at(-1);
        if (!window.kept && turn.querySelectorAll('.new').length >= 14 && turn.querySelectorAll('.mask').length >= 3) window.kept = turn.innerHTML;
    }).observe(document.getElementById('talk'), { childList: true, subtree: true, attributes: true })""")
    ask(page, STORY)
    answered(page)
    page.evaluate("if (window.kept) [...document.querySelectorAll('.assistant')].at(-1).innerHTML = kept")
    page.wait_for_timeout(150)
    page.screenshot(path=path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--picture", help="where to put a picture of a conversation")
    args = parser.parse_args()
    base = args.address.rstrip("/") + "/"
    with sync_playwright() as playwright:
        chromium = browser(playwright)
        if chromium is None:
            print("SKIPPED: the page, no Chromium")
            return
        backgrounds = []
        for scheme in ("light", "dark"):
            page, asked, wrong = opened(chromium, base, scheme)
            converse(page)
            stop(page)
            backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            others = [url for url in asked if not url.startswith((base, "data:"))]
            check(f"{scheme}: no request to any other host, of {len(asked)}", asked and not others, others)
            check(f"{scheme}: no error", not wrong, wrong)
        check("a light and a dark scheme", len(set(backgrounds)) == 2, backgrounds)
        if args.picture:
            picture(chromium, base, args.picture)
        chromium.close()


main()
