#!/usr/bin/env python3
"""Times onnxruntime on this machine for `diffulex-bench --peer-csv`: the matrices of one forward pass over this many rows.

    python -m venv venv && venv/bin/pip install onnxruntime onnx numpy
    venv/bin/python tools/peer_onnxruntime.py sdar-1.7b --rows 1,4,8,16,32 > peer.csv
    diffulex-bench --preset sdar-1.7b --format int4 --rows 1,4,8,16,32 --peer-csv peer.csv

Every matrix is a MatMulNBits node with 4 bits, symmetric, groups of 64, and accuracy level 4, which is int8 activations; between
them are the gated feed-forward part and the residual sums. Attention, norms and the positions are left out, so the times flatter
onnxruntime. The output matrix has 8 bits, as ours is int8, or 4 bits where this onnxruntime does not know 8. Weights are random
(a file of about a gigabyte in a temporary directory).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# Layers, width, inner width, heads, heads of keys and values, head width, vocabulary.
SHAPES = {
    "sdar-1.7b": (28, 2048, 6144, 16, 8, 128, 151936),
    "fast-dllm-1.5b": (28, 1536, 8960, 12, 2, 128, 151936),
    "dream-7b": (28, 3584, 18944, 28, 4, 128, 152064),
}
GROUP = 64


class Graph:
    """Nodes and random weights."""

    def __init__(self):
        self.nodes, self.weights, self.rng = [], [], np.random.default_rng(0)

    def op(self, kind, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def matrix(self, x, n, k, bits=4):
        """`x W^T` for a random W of `n` rows."""
        codes = self.constant(self.rng.integers(0, 256, (n, k // GROUP, GROUP * bits // 8), dtype=np.uint8))
        # Small enough to keep the results finite.
        scales = self.constant((0.01 / 2**bits + 0.01 / 2**bits * self.rng.random(n * k // GROUP)).astype(np.float32))
        form = {"K": k, "N": n, "bits": bits, "block_size": GROUP, "accuracy_level": 4}
        return self.op("MatMulNBits", x, codes, scales, domain="com.microsoft", **form)

    def block(self, x, width, inner, heads, kv_heads, head):
        q = self.matrix(x, heads * head, width)
        k, v = (self.matrix(x, kv_heads * head, width) for _ in range(2))
        # The replacement for attention reads all three.
        kv = self.op("Add", k, v)
        q = self.op("Add", q, self.op("Concat", *[kv] * (heads // kv_heads), axis=1))
        x = self.op("Add", x, self.matrix(q, width, heads * head))
        gate, up = (self.matrix(x, inner, width) for _ in range(2))
        gate = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self.op("Add", x, self.matrix(self.op("Mul", gate, up), width, inner))

    def save(self, path, width, vocab, out):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])
        logits = helper.make_tensor_value_info(out, TensorProto.FLOAT, ["rows", vocab])
        graph = helper.make_graph(self.nodes, "forward", [x], [logits], self.weights)
        domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=domains, ir_version=10)
        onnx.save_model(model, path, save_as_external_data=True, location="weights.bin")


def session(path, shape, layers, bits, threads):
    """A session over the model with an output matrix of this many bits."""
    _, width, inner, heads, kv_heads, head, vocab = shape
    graph, x = Graph(), "x"
    for _ in range(layers):
        x = graph.block(x, width, inner, heads, kv_heads, head)
    graph.save(path, width, vocab, graph.matrix(x, vocab, width, bits))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--rows", default="1,4,8,16,32,128")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as onnxruntime chooses")
    parser.add_argument("--layers", type=int, help="instead of the shape's")
    parser.add_argument("--seconds", type=float, default=1.5, help="repeat a case for this long, at least 3 times")
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    with tempfile.TemporaryDirectory() as directory:
        for bits in (8, 4):
            try:
                forward = session(Path(directory) / "model.onnx", shape, args.layers or shape[0], bits, args.threads)
                forward.run(None, {"x": np.zeros((1, shape[1]), np.float32)})
                break
            except Exception as error:  # onnxruntime has no class of its own for it
                if bits == 4:
                    raise SystemExit(f"onnxruntime cannot run the model: {error}") from error
    name = f"onnxruntime {onnxruntime.__version__} int4, output matrix int{bits}"
    print("rows,context,ms,name")
    for rows in map(int, args.rows.split(",")):
        x = np.random.default_rng(rows).standard_normal((rows, shape[1]), dtype=np.float32)
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < args.seconds:
            start = time.perf_counter()
            forward.run(None, {"x": x})
            times.append(1e3 * (time.perf_counter() - start))
        print(f'{rows},0,{statistics.median(times):.2f},"{name}"', flush=True)


if __name__ == "__main__":
    main()
