#!/usr/bin/env python3
"""The logits of three checkpoints (golden/checkpoints of the shared folder) by the arithmetic of the libraries that wrote
them, in numpy, and how far that arithmetic is from itself when its inputs are perturbed by 1e-7: what a test can ask for.

    lab/checkpoint-logits.py SHARED [ct-w8a8] [bnb-int8] [bnb-nf4-double]     needs numpy; about a minute
    lab/checkpoint-logits.py SHARED values                                    numbers of tests/golden/test_checkpoints.c

Found: with that noise ct-w8a8 differs from itself by 2.3e-3 to 3.5e-3 (KL divergence, mean of eight positions), bnb-int8 by 1.1e-3
to 1.6e-3, bnb-nf4-double (BF16, as on a CPU with AVX512-BF16) by 0.9e-4 to 1.3e-4; from the stored logits by as much.
"""
import itertools
import json
import os
import struct
import sys

import numpy as np

f32 = np.float32
LAYERS, HEADS, KV_HEADS, DIM = 12, 4, 2, 64  # ref-llama-11m
TYPES = {"F32": f32, "F16": np.float16, "U8": np.uint8, "I8": np.int8, "I32": np.int32}


def load(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        raw = data[8 + size + first:8 + size + last]
        values = ((np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(f32) if entry["dtype"] == "BF16"
                  else np.frombuffer(raw, TYPES[entry["dtype"]]))
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def bf16(x):
    bits = np.ascontiguousarray(x, f32).view(np.uint32)
    return ((bits + (bits >> 16 & 1) + 0x7fff) & 0xffff0000).astype(np.uint32).view(f32)


def norm(x, weight):
    return weight * (x / np.sqrt((x * x).mean(-1, keepdims=True, dtype=f32) + f32(1e-5))).astype(f32)


def rotate(x):
    angles = np.arange(len(x), dtype=f32)[:, None] / f32(10000) ** (np.arange(0, DIM, 2, dtype=f32) / f32(DIM))
    angles = np.concatenate([angles, angles], 1)[:, None]
    turned = np.concatenate([-x[..., DIM // 2:], x[..., :DIM // 2]], -1)
    return (x * np.cos(angles) + turned * np.sin(angles)).astype(f32)


def forward(tensors, ids, linear):
    """The last eight rows of logits; linear(name, x) multiplies."""
    table = tensors["model.embed_tokens.weight"]
    x, n = table[ids].copy(), len(ids)
    mask = np.triu(np.full((n, n), -np.inf, f32), 1)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        h = norm(x, tensors[at + "input_layernorm.weight"])
        q, k, v = (linear(at + f"self_attn.{part}_proj", h).reshape(n, -1, DIM) for part in "qkv")
        q, k, out = rotate(q), rotate(k), np.empty((n, HEADS, DIM), f32)
        for head in range(HEADS):
            group = head * KV_HEADS // HEADS
            scores = q[:, head] @ k[:, group].T * f32(0.125) + mask
            scores = np.exp(scores - scores.max(1, keepdims=True))
            out[:, head] = scores / scores.sum(1, keepdims=True) @ v[:, group]
        x = x + linear(at + "self_attn.o_proj", out.reshape(n, -1))
        h = norm(x, tensors[at + "post_attention_layernorm.weight"])
        gate, up = linear(at + "mlp.gate_proj", h), linear(at + "mlp.up_proj", h)
        x = x + linear(at + "mlp.down_proj", (gate / (1 + np.exp(-gate))) * up)
    return norm(x, tensors["model.norm.weight"])[-8:] @ table.T


def compressed_tensors(tensors, name, x):
    """forward.py: scale = largest / 127.5 for each token, codes -128..127."""
    scale = np.abs(x).max(1, keepdims=True) / f32(127.5)
    weight = tensors[name + ".weight"].astype(f32) * tensors[name + ".weight_scale"]
    return (np.clip(np.rint(x / scale), -128, 127) * scale) @ weight.T


def llm_int8(tensors, name, x):
    """backends/default/ops.py: codes of FP16 inputs, outlier columns in the model's precision (FP32 here)."""
    weight, scb = tensors[name + ".weight"].astype(f32), tensors[name + ".SCB"].reshape(1, -1)
    half = x.astype(np.float16).astype(f32)
    outliers = np.abs(half) >= 6
    columns = np.where(outliers.any(0))[0]
    half[outliers] = 0
    largest = np.abs(half).max(1, keepdims=True)
    codes = np.rint(half * (f32(1) / largest * f32(127)))
    codes[:, columns] = 0
    y = codes @ weight.T * (largest * scb) * f32(6.200124e-05)
    return (y + x[:, columns] @ (weight[:, columns] * (scb.T * f32(1 / 127))).T).astype(f32)


def nf4_parts(tensors, name):
    packed = tensors[name + ".weight"].reshape(-1)
    state = json.loads(bytes(tensors[name + ".weight.quant_state.bitsandbytes__nf4"]))
    codes = np.stack([packed >> 4, packed & 15], 1).reshape(state["shape"])
    absmax = tensors[name + ".weight.nested_quant_map"][tensors[name + ".weight.absmax"]]
    absmax = absmax * np.repeat(tensors[name + ".weight.nested_absmax"], 256)[:absmax.size] + f32(state["nested_offset"])
    return codes, absmax.astype(f32), tensors[name + ".weight.quant_map"]


def nf4_bf16(tensors, name, x):
    codes, absmax, values = nf4_parts(tensors, name)
    weight = (bf16(values)[codes].reshape(-1, 64) * bf16(absmax)[:, None]).reshape(codes.shape)
    return bf16(bf16(x) @ weight.T)


def nf4_exact(tensors, name, x):
    codes, absmax, values = nf4_parts(tensors, name)
    return x @ (values[codes].reshape(-1, 64) * absmax[:, None]).reshape(codes.shape).astype(np.float64).T


def divergence(a, b):
    a, b = (rows.astype(np.float64) - np.log(np.exp(rows.astype(np.float64)).sum(1, keepdims=True)) for rows in (a, b))
    return (np.exp(a) * (a - b)).sum(1).mean()


def describe(a, b):
    return f"{divergence(a, b):.2e}/{np.abs(a - b).max():.3f}"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    library = {"ct-w8a8": compressed_tensors, "bnb-int8": llm_int8, "bnb-nf4-double": nf4_bf16}
    wanted = sys.argv[2:] or list(library)
    for name in wanted:
        folder = os.path.join(sys.argv[1], "golden", "checkpoints", "bnb-nf4-double" if name == "values" else name)
        tensors = load(os.path.join(folder, "model.safetensors"))
        ids = np.array(json.load(open(os.path.join(folder, "case.json")))["ids"])
        if name == "values":
            for row in forward(tensors, ids, lambda n, x: nf4_exact(tensors, n, x)):
                print(", ".join(f"{row[v]:.5f}" for v in (0, 1000, 4000, 8191)))
            continue
        stored = np.fromfile(os.path.join(folder, "logits.f32"), f32).reshape(8, -1)
        runs = []
        for seed in range(4):
            random = np.random.default_rng(seed)
            runs.append(forward(tensors, ids, lambda n, x: library[name](
                tensors, n, x * (1 + 1e-7 * random.standard_normal(x.shape)).astype(f32))))
        print(name, "to the stored logits:", *(describe(stored, run) for run in runs))
        print(name, "to each other:", *(describe(a, b) for a, b in itertools.combinations(runs, 2)), flush=True)


if __name__ == "__main__":
    main()
