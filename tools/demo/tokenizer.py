"""The demo models' tokenizer: byte-level BPE, trained on their own text, digits one by one."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END, START, TURN_END, MASK = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|MASK|>"
SPECIAL = [END, START, TURN_END, MASK]
VOCAB = 704  # a multiple of 64 that leaves room for each word of the lists with and without a space before it

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chat(turns):
    """The prompt of the last turn, and its answer: the template above, written out."""
    *before, (question, answer) = turns
    text = "".join(f"{START}user\n{q}{TURN_END}\n{START}assistant\n{a}{TURN_END}\n" for q, a in before)
    return f"{text}{START}user\n{question}{TURN_END}\n{START}assistant\n", answer


def train(texts):
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def write_config(directory, tokenizer):
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    added = {str(ids[t]): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} for t in SPECIAL}
    config = {
        "add_bos_token": False,
        "added_tokens_decoder": added,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": TURN_END,
        "mask_token": MASK,
        "pad_token": END,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
