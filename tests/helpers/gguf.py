"""A tiny random model in GGUF, quantised as llama.cpp does it."""

import json
from collections.abc import Collection
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import models

LAYERS, HEADS, WIDTH, INNER = 2, 2, 32, 64
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
"""Names of tensors in transformers → in GGUF, without the prefix of their layer."""
QUANTISED = gguf.GGMLQuantizationType.Q4_0


def write(path: Path, without: Collection[str] = (), architecture: str = "llama") -> dict[str, torch.Tensor]:
    """Write a Llama model to ``path``, and return its weights as they are after dequantisation.

    Matrices are in Q4_0, vectors in float32. Tensors with the names ``without`` (of GGUF) are left out.
    """
    tokenizer = models.tokenizer(learned=["the theme"], vocabulary=262)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    torch.manual_seed(0)
    settings = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    heads = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": WIDTH // HEADS}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), **settings, **heads, tie_word_embeddings=False)
    )
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in models.SPECIAL else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    expected = {}
    for name, tensor in model.state_dict().items():
        weights = tensor.numpy()
        if weights.ndim == 1:
            weights = weights + np.float32(0.5)
            packed, kind = weights, gguf.GGMLQuantizationType.F32
            expected[name] = torch.from_numpy(weights)
        else:
            packed, kind = quantize(_for_llama_cpp(name, weights), QUANTISED), QUANTISED
            # Each row is quantised by itself, so the order of rows makes no difference.
            expected[name] = torch.from_numpy(dequantize(quantize(weights, QUANTISED), QUANTISED))
        if _name(name) not in without:
            writer.add_tensor(_name(name), packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _name(name: str) -> str:
    """The name in GGUF of a tensor of transformers."""
    if name in NAMES:
        return NAMES[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest]}"


def _for_llama_cpp(name: str, weights: np.ndarray) -> np.ndarray:
    """The rows of queries and keys in the order of llama.cpp, which pairs neighbouring rows for the rotation."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weights
    halves = weights.reshape(HEADS, 2, WIDTH // HEADS // 2, weights.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))
