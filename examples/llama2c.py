"""Small Llamas in llama2.c's format (stories260K, BabyLlama-105) as Hugging Face folders, with text to score.

    python examples/llama2c.py stories260K.bin tok512.bin stories.txt out
    cipherformer emulate out --data out/text.npz

The first command writes `out/` (config.json, model.safetensors) and `out/text.npz`: windows of tokens.
"""

from __future__ import annotations

import re
import struct
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

BEGIN = 1
BYTES_FROM = 3
"""Tokens 3 to 258 stand for single bytes, in vocabularies that are large enough."""
UNKNOWN = 0


def load(path: Path) -> LlamaForCausalLM:
    """The model of a llama2.c file: a header of seven int32, then float32 arrays."""
    raw = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, length = struct.unpack("7i", raw[:28])
    config = LlamaConfig(
        vocab_size=abs(vocab),
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=length,
        rms_norm_eps=1e-5,
        tie_word_embeddings=vocab > 0,
        attn_implementation="eager",
    )
    values, at = np.frombuffer(raw, np.float32, offset=28), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return torch.tensor(values[at - count : at].reshape(shape).copy())

    size = dim // heads
    embedding, norm1 = take(abs(vocab), dim), take(layers, dim)
    q, k, v = take(layers, dim, dim), take(layers, kv_heads * size, dim), take(layers, kv_heads * size, dim)
    o, norm2 = take(layers, dim, dim), take(layers, dim)
    gate, down, up = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    state = {"model.embed_tokens.weight": embedding, "model.norm.weight": take(dim)}
    for i in range(layers):
        at_layer = f"model.layers.{i}."
        state |= {
            at_layer + "input_layernorm.weight": norm1[i],
            at_layer + "post_attention_layernorm.weight": norm2[i],
            at_layer + "self_attn.q_proj.weight": _halves(q[i], heads),
            at_layer + "self_attn.k_proj.weight": _halves(k[i], kv_heads),
            at_layer + "self_attn.v_proj.weight": v[i],
            at_layer + "self_attn.o_proj.weight": o[i],
            at_layer + "mlp.gate_proj.weight": gate[i],
            at_layer + "mlp.down_proj.weight": down[i],
            at_layer + "mlp.up_proj.weight": up[i],
        }
    state["lm_head.weight"] = embedding
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    return model.eval()


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotary pairs stand next to each other in llama2.c and half a head apart in transformers."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def read_vocabulary(path: Path) -> list[tuple[float, bytes]]:
    """Score and text of each token: of a llama2.c file, or of a sentencepiece model."""
    raw, at, found = path.read_bytes(), 4, []
    if path.suffix == ".model":
        return read_sentencepiece(raw)
    while at < len(raw):
        score, size = struct.unpack_from("fi", raw, at)
        found.append((score, raw[at + 8 : at + 8 + size]))
        at += 8 + size
    return found


def read_sentencepiece(raw: bytes) -> list[tuple[float, bytes]]:
    """Score and text of each piece: the leading records of field 1, each with a text and then a score.

    A piece is shorter than 128 bytes; a space is written as U+2581.
    """
    at, found = 0, []
    while raw[at] == 0x0A:
        size, length = raw[at + 1], raw[at + 3]
        piece = raw[at + 4 : at + 4 + length].decode().replace("\u2581", " ").encode()
        (score,) = struct.unpack_from("<f", raw, at + 5 + length)
        found.append((score, piece))
        at += 2 + size
    return found


def encode(text: str, vocabulary: list[tuple[float, bytes]]) -> list[int]:
    """Byte-pair encoding: merge the pair of the best score until none is left; one space goes in front."""
    index = {piece: i for i, (_, piece) in reversed(list(enumerate(vocabulary)))}
    tokens = [index[b" "]]
    for character in text:
        piece = character.encode()
        spelled = [b + BYTES_FROM for b in piece] if len(vocabulary) > BYTES_FROM + 255 else [UNKNOWN]
        tokens += [index[piece]] if piece in index else spelled
    while True:
        joined = [index.get(vocabulary[a][1] + vocabulary[b][1]) for a, b in pairwise(tokens)]
        scored = [(vocabulary[new][0], -i, new) for i, new in enumerate(joined) if new is not None]
        if not scored:
            return [BEGIN, *tokens]
        _, place, new = max(scored)
        tokens[-place : 2 - place] = [new]


def windows(text: str, vocabulary: list[tuple[float, bytes]], length: int, count: int) -> NDArray[np.int64]:
    """The first `length` + 1 tokens of each of the first stories that are long enough."""
    found = []
    for story in re.split(r"(?<!\n)\n(?!\n)", text):  # stories end with one newline, paragraphs with two
        tokens = encode(story.strip()[: 12 * length], vocabulary) if story.strip() else []
        if len(tokens) > length:
            found.append(tokens[: length + 1])
        if len(found) == count:
            break
    return np.array(found, dtype=np.int64)


if __name__ == "__main__":
    weights, tokens, text, out = map(Path, sys.argv[1:5])
    load(weights).save_pretrained(out)
    np.savez(out / "text.npz", tokens=windows(text.read_text(), read_vocabulary(tokens), 64, 20))
