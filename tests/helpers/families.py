"""A tiny random model for each family of causal language models in transformers, built from its configuration."""

import inspect
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

NAMES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
MAX_PARAMETERS = 5_000_000
VOCABULARY = 320

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    # other names for the same sizes
    "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "n_inner": 96, "d_model": 64, "n_layers": 2,
    "n_heads": 4, "d_ff": 96, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 96,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 96, "ffn_dim": 96, "emb_dim": 64,
    "word_embed_proj_dim": 64, "embedding_size": 64, "ffn_hidden_size": 96, "attention_hidden_size": 64,
    "state_size": 8, "layer_norm_epsilon": 1e-5, "is_decoder": True, "sliding_window": 16,
    # mixtures of experts
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "moe_topk": 2, "n_shared_experts": 1,
    # latent attention
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16,
}  # fmt: skip
"""Sizes that most configurations take. Each configuration gets those that its class has."""
VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "depth": 1, "embed_dim": 32, "num_heads": 2, "out_hidden_size": 64,
    "num_layers": 1, "hidden_dim": 32,
}  # fmt: skip
"""The same for the parts of a model that process images or sound, which no prompt uses."""
SPECIAL: dict[str, dict[str, Any]] = {
    "granite": {
        "logits_scaling": 8.0,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.1,
    },
    "granitemoe": {"logits_scaling": 8.0},
    "granitemoeshared": {"logits_scaling": 8.0},
    "gemma2": {"final_logit_softcapping": 2.0},
    "cohere": {"logit_scale": 0.25},
}
"""Settings of single families: those that they need, and those whose default would change nothing."""
EAGER = ("gemma2", "gpt_oss")


class NotBuilt(Exception):
    """No tiny model of a family can be built. The message says why."""


def build(name: str, seed: int = 0, **changes: Any) -> Any:
    """A tiny random model in float32, ready for inference. Raises NotBuilt if there is none."""
    try:
        config = configuration(name, **changes)
        with torch.device("meta"):
            sketch = AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise NotBuilt(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}") from error
    size = sum(parameter.numel() for parameter in sketch.parameters())
    if size > MAX_PARAMETERS:
        raise NotBuilt(f"{size / 1e6:.0f} million parameters")
    torch.manual_seed(seed)
    try:
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    except (ValueError, ImportError):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        # larger weights, so that the predictions are far from uniform
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    return model.float().eval()


def configuration(name: str, **changes: Any) -> Any:
    """The configuration of a tiny model of a family."""
    kind = type(AutoConfig.for_model(name))
    parts = getattr(kind, "sub_configs", {})
    text = next((part for part in ("text_config", "decoder", "llm_config") if part in parts), None)
    special = {**SPECIAL.get(name, {}), **changes}
    if text is None:
        return AutoConfig.for_model(name, **{**_known(kind, SIZES), **special})
    nested = {part: _known(_class(parts[part], name, part), VISION) for part in parts}
    own = _class(parts[text], name, text)
    nested[text] = {**_known(own, SIZES), "model_type": own.model_type, **special}
    return AutoConfig.for_model(name, **nested)


def _class(part: Any, name: str, attribute: str) -> Any:
    default = getattr(AutoConfig.for_model(name), attribute, None)
    return type(default) if default is not None and inspect.isclass(part) else part


def _known(kind: Any, sizes: dict[str, Any]) -> dict[str, Any]:
    """The entries of ``sizes`` that a configuration class accepts."""
    names = set(dir(kind)) | set(getattr(kind, "__annotations__", {}))
    for base in kind.__mro__:
        names |= set(getattr(base, "__annotations__", {}))
        if "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)
    return {key: value for key, value in sizes.items() if key in names}
