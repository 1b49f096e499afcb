#!/usr/bin/env python3
"""Times PyTorch on this machine for `diffulex-bench --peer-csv`: the matrices of one forward pass over this many rows, in bf16.

    python -m venv venv && venv/bin/pip install torch
    venv/bin/python tools/peer_pytorch.py sdar-1.7b --rows 1,4,8,16,32 > peer.csv
    diffulex-bench --preset sdar-1.7b --format bf16 --rows 1,4,8,16,32 --peer-csv peer.csv

Weights are random. Attention, norms, positions and activation functions are left out, so the times flatter PyTorch.
"""

import argparse
import statistics
import time

import torch

# Layers, width, inner width, heads, heads of keys and values, head width, vocabulary.
SHAPES = {
    "sdar-1.7b": (28, 2048, 6144, 16, 8, 128, 151936),
    "fast-dllm-1.5b": (28, 1536, 8960, 12, 2, 128, 151936),
    "dream-7b": (28, 3584, 18944, 28, 4, 128, 152064),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--rows", default="1,4,8,16,32,128")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch chooses")
    parser.add_argument("--seconds", type=float, default=1.5, help="repeat a case for this long, at least 3 times")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layers, width, inner, heads, kv_heads, head, vocab = SHAPES[args.shape]
    block = [((heads + 2 * kv_heads) * head, width), (width, heads * head), (2 * inner, width), (width, inner)]
    weights = [torch.randn(n, k, dtype=torch.bfloat16) for n, k in block * layers + [(vocab, width)]]
    print("rows,context,ms,name")
    for rows in map(int, args.rows.split(",")):
        inputs = {k: torch.randn(rows, k, dtype=torch.bfloat16) for k in {width, inner, heads * head}}
        times, begin = [], time.perf_counter()
        with torch.inference_mode():
            for weight in weights:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)
            while len(times) < 3 or time.perf_counter() - begin < args.seconds:
                start = time.perf_counter()
                for weight in weights:
                    torch.nn.functional.linear(inputs[weight.shape[1]], weight)
                times.append(1e3 * (time.perf_counter() - start))
        print(f"{rows},0,{statistics.median(times):.2f},PyTorch {torch.__version__} bf16", flush=True)


if __name__ == "__main__":
    main()
