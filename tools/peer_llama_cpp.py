#!/usr/bin/env python3
"""Times llama.cpp on this machine for `diffulex-bench --peer-csv`: one forward pass over this many rows, logits of all rows.

    python -m venv venv && CMAKE_ARGS=-DGGML_NATIVE=ON venv/bin/pip install --no-binary llama-cpp-python llama-cpp-python gguf
    venv/bin/python tools/peer_llama_cpp.py sdar-1.7b q4_0 --rows 1,4,8,16,32 > peer.csv
    diffulex-bench --preset sdar-1.7b --format int4 --activations int8 --rows 1,4,8,16,32 --peer-csv peer.csv

The model is random, of the same shapes (a file of some gigabytes in a temporary directory), the cache empty, the context causal:
the arithmetic of a denoise step. The output matrix of a quantized model is Q8_0, as ours is int8.
"""

import argparse
import ctypes
import statistics
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as Type

# Layers, width, inner width, heads, heads of keys and values, head width, vocabulary. All use Qwen3's architecture here: that of
# the others differs in biases and norms, which take no time.
SHAPES = {
    "sdar-1.7b": (28, 2048, 6144, 16, 8, 128, 151936),
    "fast-dllm-1.5b": (28, 1536, 8960, 12, 2, 128, 151936),
    "dream-7b": (28, 3584, 18944, 28, 4, 128, 152064),
}
BLOCK = 32  # weights that share a scale in Q4_0 and Q8_0
CODES = {"q4_0": (Type.Q4_0, 16), "q8_0": (Type.Q8_0, 32)}  # bytes of codes in a block


class Writer:
    """Writes a model of random weights, whose sizes keep activations finite."""

    def __init__(self, path, kind):
        self.file, self.kind, self.rng = gguf.GGUFWriter(path, "qwen3"), kind, np.random.default_rng(0)

    def matrix(self, name, rows, columns, kind=None):
        kind = kind or self.kind
        if kind == "bf16":
            sign = self.rng.integers(0, 2, (rows, columns), dtype=np.uint16) << 15
            data, dtype = sign | self.rng.integers(0x3C00, 0x3CFF, (rows, columns), dtype=np.uint16), Type.BF16
            data = data.view(np.uint8)
        else:
            dtype, codes = CODES[kind]
            blocks = self.rng.integers(0, 256, (rows, columns // BLOCK, 2 + codes), dtype=np.uint8)
            scales = (0.002 + 0.002 * self.rng.random((rows, columns // BLOCK, 1))).astype(np.float16)
            blocks[:, :, :2] = scales.view(np.uint8)
            data = blocks.reshape(rows, -1)
        self.file.add_tensor(f"{name}.weight", data, raw_dtype=dtype)

    def ones(self, name, width):
        self.file.add_tensor(f"{name}.weight", np.ones(width, np.float32))

    def words(self, vocab):
        """A vocabulary of bytes, as byte-level BPE writes them, and of words that do not occur in text."""
        letters = [chr(byte) if 33 <= byte <= 126 or byte in range(161, 256) and byte != 173 else None for byte in range(256)]
        rest = iter(range(256, 512))
        tokens = [letter or chr(next(rest)) for letter in letters] + [chr(256 + 32) + "t"]
        tokens += [f"word{number}" for number in range(len(tokens), vocab)]
        self.file.add_tokenizer_model("gpt2")
        self.file.add_tokenizer_pre("qwen2")
        self.file.add_token_list(tokens)
        self.file.add_token_types([1] * (vocab - 1) + [3])
        self.file.add_token_merges([chr(256 + 32) + " t"])
        self.file.add_eos_token_id(vocab - 1)
        self.file.add_bos_token_id(vocab - 1)

    def model(self, layers, width, inner, heads, kv_heads, head, vocab, words=False):
        out = self.file
        out.add_block_count(layers)
        out.add_context_length(4096)
        out.add_embedding_length(width)
        out.add_feed_forward_length(inner)
        out.add_head_count(heads)
        out.add_head_count_kv(kv_heads)
        out.add_key_length(head)
        out.add_value_length(head)
        out.add_layer_norm_rms_eps(1e-6)
        out.add_rope_freq_base(1e6)
        out.add_vocab_size(vocab)
        if words:
            self.words(vocab)
        else:
            out.add_tokenizer_model("none")
        ends = "bf16" if self.kind == "bf16" else "q8_0"
        for name in ("token_embd", "output"):
            self.matrix(name, vocab, width, ends)
        self.ones("output_norm", width)
        for i in range(layers):
            for name, size in (("attn_norm", width), ("ffn_norm", width), ("attn_q_norm", head), ("attn_k_norm", head)):
                self.ones(f"blk.{i}.{name}", size)
            self.matrix(f"blk.{i}.attn_q", heads * head, width)
            self.matrix(f"blk.{i}.attn_k", kv_heads * head, width)
            self.matrix(f"blk.{i}.attn_v", kv_heads * head, width)
            self.matrix(f"blk.{i}.attn_output", width, heads * head)
            self.matrix(f"blk.{i}.ffn_gate", inner, width)
            self.matrix(f"blk.{i}.ffn_up", inner, width)
            self.matrix(f"blk.{i}.ffn_down", width, inner)
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()


def context(path, threads, most_rows):
    silent = llama_cpp.llama_log_callback(lambda level, text, user: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_default_params()
    settings.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = max(512, most_rows), most_rows, most_rows
    settings.n_threads = settings.n_threads_batch = threads
    made = llama_cpp.llama_init_from_model(model, settings)
    if not made:
        raise SystemExit("llama.cpp could not open the model that was written for it")
    return made, silent


def milliseconds(ctx, rows, runs):
    batch = llama_cpp.llama_batch_init(rows, 0, 1)
    batch.n_tokens = rows
    for i in range(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = 100 + i, i, 1, 1
        batch.seq_id[i][0] = 0
    times = []
    for _ in range(runs + 1):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(ctx), True)
        start = time.perf_counter()
        if llama_cpp.llama_decode(ctx, batch) != 0:
            raise SystemExit(f"llama.cpp refused {rows} rows")
        llama_cpp.llama_synchronize(ctx)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])  # the first one warms up


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=SHAPES)
    parser.add_argument("format", choices=[*CODES, "bf16"])
    parser.add_argument("--rows", default="1,4,8,16,32", help="rows of a forward, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", help="write the model with a vocabulary into this file, for a server, and measure nothing")
    parser.add_argument("--runs", type=int, default=7, help="of which the median is taken")
    args = parser.parse_args()
    if args.write:
        Writer(args.write, args.format).model(*SHAPES[args.preset], words=True)
        return
    rows = [int(number) for number in args.rows.split(",")]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.gguf")
        Writer(path, args.format).model(*SHAPES[args.preset])
        ctx, _silent = context(path, args.threads, max(rows))
        print("rows,context,ms,name")
        for number in rows:
            print(f"{number},0,{milliseconds(ctx, number, args.runs):.1f},llama.cpp {args.format}", flush=True)


if __name__ == "__main__":
    main()
