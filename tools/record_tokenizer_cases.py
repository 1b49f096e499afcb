"""Records tests/tokenizers/cases.json and patterns.json: what Python's tokenizers and transformers make of strings.

The tokenizers are those of the recorded checkpoints (their strings and ids only; folders given on the command line are recorded with
their files) and handmade ones of every kind. `cargo test` checks the tables without Python. Run in the repository root, with
    pip install "transformers<5" tokenizers jinja2
    python tools/record_tokenizer_cases.py [CHECKPOINT ..]
"""

import json
import random
import sys
import tempfile
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

OUT = Path("tests/tokenizers")
ROOTS = ["demo/llada", "demo/sdar"] + sorted(str(p.parent) for p in Path("tests/golden").glob("*/tokenizer.json"))
TEXTS = [
    "Hello, world! It's 12345 o'clock.",
    "  two  spaces\tand a tab \n\n lines\r\n  ",
    "naïve Ångström ﬁne \u212b e\u0301 \u0e01\u0e33",
    "語 漢字かな 🙂👩\u200d👩\u200d👧 \u00a0x\u3000y\u200bz",
    "<s>a</s> b <|x|>c <|X|> [MASK].[MASK]mask maskmask  <|end|>  d",
    "'S 'LL we'Ve don't \u2019s KELVIN \u212a ſ",
    "٣۴ ½ Ⅷ ²x_y-z",
    "",
    " ",
    "a",
]
BYTES = pre_tokenizers.ByteLevel.alphabet()


def added(i, content, special=True, **flags):
    token = {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return token | {"special": special} | flags


def bpe(vocab, merges=(), **options):
    vocab = {token: i for i, token in enumerate(vocab)}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    return model | {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": list(merges)} | options


MERGES = [["h", "e"], ["l", "l"], ["he", "ll"], ["hell", "o"], ["Ġ", "Ġ"], ["Ġ", "w"], ["'", "s"], ["1", "2"], ["Ċ", "Ċ"], ["Ã", "¯"]]


def byte_level(merges=MERGES, **options):
    tokens = sorted(BYTES)
    return bpe(tokens + [a + b for a, b in merges if a + b not in tokens], merges, **options)


# What sentencepiece 0.2.3 makes of `normalization_rule_tsv` (code points and what replaces them):
# fi -> f i, e acute -> e (both spellings), aa -> A, aaa -> B, U+3000 -> space, U+200B and CR -> nothing, << -> two <, (1) -> 1,
# a grave -> a, U+0E33 -> U+0E4D U+0E32.
CHARSMAP = (
    "AAQAAAAwAAANDQAAAAAAgGEdAAAIAACACgAAgMwAAgCBPQAADgAAgKsNAAAFAACADAAAgLjIAgCzDQAAEwAAgIBUAgCgbQAAi00AAKAFAAADAACAgAQCAIANAAABAACArD"
    "gCAIEJAACpRQAAEAAAgBoAAAAdAAAAHAAAAJGwAgAeAAAAIQAAACAAAAAjAAAAIgAAACUAAAAkAAAAJwAAACYAAAApAAAAKAAAACsAAAAqAAAALQAAACwAAAAvAAAALgAA"
    "ADEAAAAwAAAAMwAAADIAAAA1AAAANAAAADcAAAA2AAAAOQAAADgAAAA7AAAAOgAAAD0AAAA8AAAAPwAAAD4AAABBAAAAQAAAAEMAAABCAAAARQAAAEQAAABHAAAARgAAAE"
    "kAAABIAAAASwAAAEoAAABNAAAATAAAAE8AAABOAAAAUQAAAFAAAABTAAAAUgAAAFUAAABUAAAAVwAAAFYAAABZAAAAWAAAAFsAAABaAAAAXQAAAFwAAABfAAAAXgAAAGEA"
    "AABgAAAAYwAAAGIAAABlAAAAYYEBAGcAAABmAAAAaQAAAGWMAgBrAAAAagAAAG0AAABhPAAAbwAAAG4AAABxAAAAcAAAAHMAAAByAAAAdQAAAHQAAAB3AAAAdgAAAHkAAA"
    "B4AAAAewAAAHoAAAB9AAAAfAAAAH8AAAB+AAAAgQAAAIAAAACDAAAAggAAAIUAAACEAAAAhwAAAIYAAACJAAAAiAAAAIsAAACKAAAAjQAAAIwAAACPAAAAjgAAAJEAAACQ"
    "AAAAkwAAAJIAAACVAAAAlAAAAJcAAACWAAAAmQAAAJgAAACbAAAAmgAAAJ0AAACcAAAAnwAAAJ4AAAChAAAAoAAAAKMAAACiAAAApQAAAKQAAACnAAAApgAAAKkAAACoAA"
    "AAqwAAAKoAAACtAAAArAAAAK8AAACuAAAAsQAAALAAAACzAAAAsgAAALUAAAC0AAAAtwAAALYAAAC5AAAAuAAAALsAAAC6AAAAvQAAALwAAAC/AAAAvgAAAMEAAADAAAAA"
    "wwAAAMIAAADFAAAAxAAAAMcAAADGAAAAyQAAAMgAAADLAAAAygAAAM0AAADMAAAAwrABAMP8AQDRAAAA0AAAANMAAADSAAAA1QAAANQAAADXAAAA1gAAANkAAADYAAAA2w"
    "AAANoAAADdAAAA3AAAAN8AAADeAAAA4QAAAOAAAADjAAAA72ABAOUAAADkAAAA5wAAAOYAAADpAAAA6AAAAOsAAADqAAAA4GABAOwAAADihAEA4+wBAPEAAADwAAAA8wAA"
    "APIAAAD1AAAA9AAAAPcAAAD2AAAA+QAAAPgAAAD7AAAA+gAAAP0AAAD8AAAA/wAAAP4AAAAAIAAxADw8AEEAQgBhAGUAZmkA4LmN4LiyAA=="
)
CHARACTERS = sorted(set("".join(TEXTS)) - set(" \t\r\n") | set("▁"))


def spelled():
    """WordPiece on characters: the ids tell where words begin."""
    vocab = ["[UNK]"] + CHARACTERS + ["##" + c for c in CHARACTERS]
    vocab = {token: i for i, token in enumerate(vocab)}
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}


def fallback():
    vocab = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + list("▁abcdefghijklmnopqrstuvwxyzHI.,!'") + ["▁t", "he", "▁a"]
    return bpe(vocab, [["▁", "t"], ["h", "e"], ["▁", "a"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def unigram(**options):
    vocab = [["<unk>", 0.0], ["<s>", 0.0], ["▁", -2.0], ["▁a", -2.5], ["he", -3.0], ["▁he", -3.2], ["llo", -4.0]]
    vocab += [[c, -5.0 - i / 100] for i, c in enumerate("abcdefghijklmnopqrstuvwxyzHI.,!'漢")]
    if options.get("byte_fallback"):
        vocab += [[f"<0x{b:02X}>", -9.0] for b in range(256)]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocab} | options


def words():
    vocab = {token: i for i, token in enumerate(["[UNK]", "hello", "Hello", "world", "two", "spaces", "a", "12345", "'", "s", ",", ".", "[MASK]"])}
    return {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}


def file(model, normalizer=None, cut=None, decoder=None, post=None, tokens=(), **more):
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": list(tokens), "normalizer": normalizer,
        "pre_tokenizer": cut, "post_processor": post, "decoder": decoder, "model": model,
    } | more


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def regex(pattern):
    return {"Regex": pattern}


def level(prefix=False, use_regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def metaspace(scheme, cut=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}


DECODE_BYTES = level(True, True)
DECODE_PIECES = sequence("decoders", replace({"String": "▁"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
O200K = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥\u3040-ゟ゠-ヿ]+", r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
PATTERNS = [
    QWEN2, CL100K, O200K, *DEEPSEEK, r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"\s+$", r"^\s+|\s+$", "^", "$", r"\A.|.\z|.\Z", r"\b", r"\B", r"\b\w", "(?m:a.b)|[^x]", ".", "(?m).", ".*", ".*?", "x*", "(a*)*", "(?:a|b)*?c",
    "[[:alpha:]]+|.", "[[:^space:][:punct:]]+", "[^[:alnum:]]", r"\h+", r"\H", r"[\h_]+", r"[\w&&[^a-f]]+", "[a-z[0-9]]+", r"[\]\[-]", r"[a\-z]", "[-a]", "[a-]",
    "a{2}", "a{2}?", "a{2}+", "a{,2}", "a{1,}", "a{1,2}?", "{a}", "a{,}", "a{x}", "a++", "a*+b|a", "a?+.", "(?>a+|b)c?", "(?=a)..", "(?!a).", r"(?<=a)b?", r"(?<!\s)\w+",
    "(?<=a|bc)d", "(?<name>a)b", "(a)(?#comment)b", "(?x) a b # c", "(?x: a | b )", "a(?i)b|C", "(?i)kelvin", "(?i:[k-l])", "(?i)(?-i:K)k", "(?i:k)K", r"(?i:\p{Lu}+)",
    r"\p{Han}+", r"\p{^Han}+", r"\P{L}+", r"\p{Lu}\p{Ll}*", r"\p{Alpha}+", r"\p{greek}", r"[\p{L}\p{M}]+", r"\p{Emoji}", r"\u0061|\x62|\x{63}|\t", r"\<|\>|\/|\-", "é+|ï", "]|}", r"\e\a\f\v",
    r"ab$|[^\n]|\n", r"^ab|[^\n]|\n", "", "|a", "a||b", "(|a)b", "(?:)+", r"[^\S\n]+", r"[ \t]+", r"\d+", r"\D+", r"\W+",
]
REFUSED = [r"(a)\1", r"(?<n>a)\k<n>", r"\g<0>", r"\R", r"\X", r"\K", r"\G", "(?~a)", "(a)?(?(1)b|c)", "a**", "a+*", "(?<=a+)b", "(?i)ss", "(?i)straße", r"\pL", r"\p{Script=Han}", "[]a]", "[a-c-e]", r"[\w-a]", r"\1", r"\xff"]
LINES = ["ab\nab\nxab\n", "\n", "aab abc bcd ad aaa {a} a{x} ]}", "Kk\u212a ß KELVIN kelvin bB CC K", "e\u0301é ïï \t\x1b\x07 <a>/-_[]\\ 0af"] + TEXTS
CLASSES = [f"[[:{name}:]]" for name in "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit".split()]
CLASSES += [r"\w", r"\W", r"[\w]", r"[^\w]", r"[\p{Word}]", r"\d", r"\D", r"[\d]", r"\s", r"\S", r"[\s]", r"\h", r"\H", "."] + [
    rf"\p{{{name}}}"
    for name in "Alpha Blank Cntrl Graph Print Upper Lower Word XDigit ASCII Digit L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Co Cn Letter Uppercase_Letter "
    "Han Hiragana Katakana Latin Greek Cyrillic Arabic Hebrew Thai Hangul Devanagari Common Inherited Alphabetic Uppercase Lowercase White_Space "
    "Ideographic Emoji Extended_Pictographic ID_Start ID_Continue Math Dash Punct Alnum Space Any Assigned Georgian Armenian Bengali Tamil Tibetan Ethiopic Khmer".split()
]
CLASSES += [r"(?i:s)", r"(?i:[a-z])", r"[^\r\n\p{L}\p{N}]", r"(?i:\p{Lu})"]


def handmade():
    """Pairs of a name and a tokenizer.json."""
    norm = lambda *steps: steps[0] if len(steps) == 1 else sequence("normalizers", *steps)
    yield "byte-level", file(byte_level(), None, level(False, True), DECODE_BYTES)
    yield "byte-level with a first space", file(byte_level(), {"type": "NFC"}, level(True, True), DECODE_BYTES)
    yield "byte-level, whole words first", file(byte_level(ignore_merges=True), None, level(False, True), DECODE_BYTES)
    for name, patterns in [("qwen2", [QWEN2]), ("cl100k", [CL100K]), ("o200k", [O200K]), ("deepseek", DEEPSEEK)]:
        yield name, file(byte_level(), {"type": "NFC"}, sequence("pretokenizers", *[split(regex(p)) for p in patterns], level()), DECODE_BYTES)
    prepend = [{"type": "Prepend", "prepend": "▁"}, replace({"String": " "}, "▁")]
    yield "sentencepiece bpe", file(fallback(), norm(*prepend), None, DECODE_PIECES, tokens=[added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", normalized=True)])
    for scheme in ["always", "first", "never"]:
        for cut in [True, False]:
            yield f"metaspace {scheme} {cut}", file(fallback(), None, metaspace(scheme, cut), metaspace(scheme, cut), tokens=[added(1, "<s>"), added(2, "</s>")])
    yield "unigram", file(unigram(), None, metaspace("always"), metaspace("always"), tokens=[added(1, "<s>")])
    yield "unigram with bytes", file(unigram(byte_fallback=True), {"type": "NFKC"}, metaspace("first"), DECODE_PIECES, tokens=[added(1, "<s>")])
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    yield "wordpiece", file(spelled(), bert, {"type": "BertPreTokenizer"}, {"type": "WordPiece", "prefix": "##", "cleanup": True})
    yield "word level", file(words(), None, {"type": "Whitespace"}, None, tokens=[added(12, "[MASK]")])
    for step in ["NFD", "NFC", "NFKD", "NFKC", "Lowercase", "StripAccents", "Nmt"]:
        yield f"normalizer {step}", file(byte_level(), {"type": step}, level(), DECODE_BYTES)
    for step in [{"type": "Strip", "strip_left": True, "strip_right": False}, replace(regex(r"\s+"), "_"), replace({"String": "l"}, ""), replace({"String": "é"}, "e"), replace(regex("^|$"), "|"), bert]:
        yield f"normalizer {json.dumps(step)}", file(byte_level(), norm({"type": "NFC"}, step), level(), DECODE_BYTES)
    for table in [{"type": "Precompiled", "precompiled_charsmap": CHARSMAP}, sequence("normalizers", {"type": "Precompiled", "precompiled_charsmap": CHARSMAP}, replace(regex(" {2,}"), " "))]:
        yield f"normalizer {'in a sequence: ' if 'normalizers' in table else ''}Precompiled", file(unigram(byte_fallback=True), table, metaspace("always"), DECODE_PIECES, tokens=[added(1, "<s>")])
        yield f"normalizer {'in a sequence: ' if 'normalizers' in table else ''}Precompiled for bytes", file(byte_level(), table, level(), DECODE_BYTES)
    yield "normalizer to bytes", file(byte_level(), {"type": "ByteLevel"}, None, DECODE_BYTES)
    cuts = [{"type": name} for name in ["Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"]]
    cuts += [{"type": "Punctuation", "behavior": b} for b in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]]
    cuts += [{"type": "Digits", "individual_digits": flag} for flag in [True, False]]
    cuts += [{"type": "CharDelimiterSplit", "delimiter": "a"}, {"type": "FixedLength", "length": 3}, split({"String": "."}), split({"String": ""})]
    cuts += [split(regex(r"\w+"), b, invert) for b in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"] for invert in [True, False]]
    for cut in cuts:
        yield f"cut {json.dumps(cut)}", file(spelled(), None, cut, {"type": "WordPiece", "prefix": "##", "cleanup": False})
    decoders = [{"type": "BPEDecoder", "suffix": "l"}, {"type": "CTC", "pad_token": "l", "word_delimiter_token": "|", "cleanup": True}, {"type": "Fuse"}]
    decoders += [replace(regex("[a-f]"), "*"), {"type": "Strip", "content": "H", "start": 1, "stop": 0}, sequence("decoders"), None]
    for decoder in decoders:
        yield f"decoder {json.dumps(decoder)}", file(spelled(), None, {"type": "WhitespaceSplit"}, decoder)
    flags = {"lstrip": {"lstrip": True}, "rstrip": {"rstrip": True}, "both": {"lstrip": True, "rstrip": True}, "word": {"single_word": True}, "normalized": {"normalized": True}}
    for name, flag in flags.items():
        tokens = [added(0, "<|x|>", **flag), added(1, "[MASK]", False, **flag), added(2, "mask", False, **flag), added(3, "<|end|>", **flag)]
        vocab = [t["content"] for t in tokens] + sorted(BYTES)
        yield f"added tokens: {name}", file(bpe(vocab), {"type": "Lowercase"}, level(), DECODE_BYTES, tokens=tokens)
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    posts = [template, sequence("processors", level(), template), {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}, {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": False}]
    for post in posts:
        yield f"post-processor {post['type']}", file(fallback(), norm(*prepend), None, DECODE_PIECES, post, [added(1, "<s>"), added(2, "</s>")])
    cutting = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    filling = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"}
    yield "truncation and padding", file(byte_level(), None, level(), DECODE_BYTES, truncation=cutting, padding=filling)
    yield "dropout", file(byte_level(dropout=0.5), None, level(), DECODE_BYTES)
    yield "prefix and suffix", file(bpe(["[UNK]", "a", "b", "##b", "##a", "a</w>", "ab", "##b</w>", "ab</w>", "c</w>"], [["a", "##b"], ["a", "##b</w>"]], unk_token="[UNK]", continuing_subword_prefix="##", end_of_word_suffix="</w>"), None, {"type": "WhitespaceSplit"}, {"type": "BPEDecoder", "suffix": "</w>"})


def configured():
    """Name, tokenizer.json, tokenizer_config.json and other files of the directory, read by transformers."""
    tokens = [added(256, "<|x|>", False), added(257, "<|end|>"), added(258, "<s>", False)]
    base = file(bpe(sorted(BYTES) + [t["content"] for t in tokens]), None, level(), DECODE_BYTES, tokens=tokens)
    entry = lambda content, special=False, **flags: {k: v for k, v in added(0, content, special, **flags).items() if k != "id"}
    yield "json only", base, {}
    yield "config: flags", base, {"added_tokens_decoder": {"256": entry("<|x|>", True), "257": entry("<|end|>", False, lstrip=True), "258": entry("<s>", rstrip=True)}}
    yield "config: eos", base, {"eos_token": "<|x|>"}
    yield "config: mask as an object", base, {"mask_token": {"__type": "AddedToken"} | entry("<|x|>")}
    yield "config: unknown pad", base, {"pad_token": "<|x|>", "bos_token": None}
    yield "config: list", base, {"additional_special_tokens": ["<s>", "<|x|>"]}
    yield "config: more tokens", base, {"added_tokens_decoder": {"259": entry("</s>", True), "260": entry("[MASK]", False)}, "eos_token": "</s>"}
    yield "config: special tokens are split", base, {"split_special_tokens": True}
    yield "config: a first space", base | {"pre_tokenizer": level(True, True)}, {"add_prefix_space": True}
    yield "config: no first space", base | {"pre_tokenizer": level(True, True)}, {"add_prefix_space": False}
    yield "config: a word of the model", base, {"eos_token": "a"}
    older, lower = {"<|new|>": 260, "</s>": 259, "mask": 261}, base | {"normalizer": {"type": "Lowercase"}}
    yield "added_tokens.json", base, {}, {"added_tokens.json": older}
    yield "added_tokens.json: tokens again", lower, {}, {"added_tokens.json": {"<|x|>": 256, "[MASK]": 259}}
    yield "added_tokens.json: special ones", lower, {"eos_token": "[MASK]"}, {"added_tokens.json": {"[MASK]": 259}}
    yield "added_tokens.json and map", lower, {}, {"added_tokens.json": older, "special_tokens_map.json": {"eos_token": "</s>", "pad_token": {"content": "<|x|>"}}}
    yield "added_tokens.json beside a list", base, {"added_tokens_decoder": {"259": entry("</s>", True)}}, {"added_tokens.json": older}
    yield "special_tokens_map.json beside a list", base, {"added_tokens_decoder": {"259": entry("</s>")}}, {"special_tokens_map.json": {"eos_token": "</s>"}}


def reference(path_or_file, config=None, beside=()):
    """The tokenizer, from transformers if it has a folder or a configuration."""
    if isinstance(path_or_file, str):
        return AutoTokenizer.from_pretrained(path_or_file)
    # What is meant for training does not count.
    content = path_or_file | {"truncation": None, "padding": None}
    if "dropout" in content["model"]:
        content["model"] = content["model"] | {"dropout": None}
    if config is None:
        return Tokenizer.from_str(json.dumps(content))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tokenizer.json").write_text(json.dumps(content))
        Path(folder, "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
        for name in beside:
            Path(folder, name).write_text(json.dumps(beside[name]))
        return AutoTokenizer.from_pretrained(folder)


def outcome(tokenizer, ids):
    """Ids with their text, without special tokens and with them."""
    return [ids, tokenizer.decode(ids, skip_special_tokens=True), tokenizer.decode(ids, skip_special_tokens=False)]


def record(name, tokenizer):
    chance = random.Random(name)  # A new case does not change the others.
    texts = []
    for text in TEXTS:
        try:
            ids = tokenizer.encode(text, add_special_tokens=False)
            texts.append(outcome(tokenizer, ids if isinstance(ids, list) else ids.ids))
        except BaseException as error:  # a panic of the package is not an Exception
            print(f"{name}: {text!r}: {error}", file=sys.stderr)
            texts.append(None)
    size = len(tokenizer) if hasattr(tokenizer, "__len__") else tokenizer.get_vocab_size(with_added_tokens=True)
    return {"name": name, "texts": texts, "drawn": outcome(tokenizer, [chance.randrange(size) for _ in range(40)])}


def cases():
    for root in ROOTS:
        yield record(root, reference(root)) | {"dir": root}
    for root in sys.argv[1:]:
        read = lambda name: json.loads(Path(root, name).read_text())
        config = read("tokenizer_config.json")
        config.pop("chat_template", None)
        yield record(Path(root).name, reference(root)) | {"file": read("tokenizer.json"), "config": config}
    for name, content in handmade():
        yield record(name, reference(content)) | {"file": content}
    for name, content, config, *beside in configured():
        yield record(name, reference(content, config, *beside)) | {"file": content, "config": config} | ({"beside": beside[0]} if beside else {})


def pieces(pattern):
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [[piece for piece, _ in cut.pre_tokenize_str(text)] if text else [] for text in LINES]


# Planes 3 to 13 have no characters except those in the first part of 3, and 15 and 16 are for private use.
ASSIGNED = "".join(chr(c) for c in [*range(0xD800), *range(0xE000, 0x32400), *range(0xE0000, 0xE0200)])


def members(pattern):
    """What characters of ASSIGNED a class has: their number, and a hash of their ranges."""
    found = sorted({ord(piece) for piece, _ in pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(ASSIGNED)})
    ranges = []
    for c in found:
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    digest = 0xCBF29CE484222325
    for byte in "".join(f"{a:x}-{b:x};" for a, b in ranges).encode():
        digest = ((digest ^ byte) * 0x100000001B3) & (2**64 - 1)
    return [len(found), f"{digest:016x}"]


def main():
    versions = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
    dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lines = lambda items: "[\n" + ",\n".join(dump(item) for item in items) + "\n]"
    OUT.mkdir(exist_ok=True)
    models, all = [], list(cases())
    for case in all:
        # Many have the same model, which is written down once.
        if "file" in case and case["file"]["model"] not in models:
            models.append(case["file"]["model"])
    for case in all:
        if "file" in case:
            case["file"] = case["file"] | {"model": models.index(case["file"]["model"])}
    table = f'{{"versions":{dump(versions)},\n"texts":{dump(TEXTS)},\n"models":{lines(models)},\n"cases":{lines(all)}}}\n'
    (OUT / "cases.json").write_text(table)
    found = [[pattern, pieces(pattern)] for pattern in PATTERNS]
    classes = [[pattern, *members(pattern)] for pattern in CLASSES]
    table = f'{{"versions":{dump(versions)},\n"texts":{dump(LINES)},\n"patterns":{lines(found)},\n"refused":{lines(REFUSED)},\n"classes":{lines(classes)}}}\n'
    (OUT / "patterns.json").write_text(table)


if __name__ == "__main__":
    main()
