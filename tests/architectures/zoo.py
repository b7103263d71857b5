"""Small random models of published architectures, unmodified, with weights large enough to matter."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOKENS, VOCABULARY = 8, 100
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_TEXT = {**_SIZES, "vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_LONG = {**_TEXT, "max_position_embeddings": 64}
_GROUPED = {**_LONG, "num_key_value_heads": 2}
_IMAGE = {**_SIZES, "image_size": 16, "patch_size": 4}
_SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": 64}
_DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": VOCABULARY}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY}

Config = Mapping[str, Any]

ZOO: Mapping[str, tuple[str, str, Config]] = MappingProxyType(
    {
        "llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
        "mistral": ("MistralForCausalLM", "MistralConfig", {**_GROUPED, "sliding_window": 4}),
        "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _GROUPED),
        "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GROUPED, "head_dim": 8}),
        "gemma": ("GemmaForCausalLM", "GemmaConfig", {**_GROUPED, "head_dim": 8}),
        "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**_GROUPED, "head_dim": 8, **_SLIDING}),
        "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**_GROUPED, "head_dim": 8, **_SLIDING}),
        "phi": ("PhiForCausalLM", "PhiConfig", _GROUPED),
        "phi3": ("Phi3ForCausalLM", "Phi3Config", _GROUPED),
        "gpt2": ("GPT2LMHeadModel", "GPT2Config", {**_GPT2, "bos_token_id": 1, "eos_token_id": 2}),
        "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _LONG),
        "opt": ("OPTForCausalLM", "OPTConfig", {**_LONG, "ffn_dim": 48, "word_embed_proj_dim": 16}),
        "bloom": ("BloomForCausalLM", "BloomConfig", _TEXT),
        "falcon": ("FalconForCausalLM", "FalconConfig", {**_TEXT, "multi_query": True}),
        "falcon_new": (
            "FalconForCausalLM",
            "FalconConfig",
            {**_TEXT, "new_decoder_architecture": True, "num_kv_heads": 2},
        ),
        "falcon_alibi": ("FalconForCausalLM", "FalconConfig", {**_TEXT, "alibi": True}),
        "apertus": ("ApertusForCausalLM", "ApertusConfig", _GROUPED),
        "nemotron": ("NemotronForCausalLM", "NemotronConfig", _GROUPED),
        "modernbert": (
            "ModernBertForSequenceClassification",
            "ModernBertConfig",
            {**_LONG, "global_attn_every_n_layers": 2, "local_attention": 4},
        ),
        "bert": ("BertForSequenceClassification", "BertConfig", _LONG),
        "roberta": ("RobertaForSequenceClassification", "RobertaConfig", _LONG),
        "distilbert": ("DistilBertForSequenceClassification", "DistilBertConfig", _DISTIL),
        "t5": ("T5ForConditionalGeneration", "T5Config", _T5),
        "t5_gated": ("T5ForConditionalGeneration", "T5Config", {**_T5, "feed_forward_proj": "gated-gelu"}),
        "t5_encoder": ("T5EncoderModel", "T5Config", _T5),
        "swin": (
            "SwinForImageClassification",
            "SwinConfig",
            {
                "image_size": 16,
                "patch_size": 2,
                "embed_dim": 16,
                "depths": [2],
                "num_heads": [2],
                "window_size": 4,
            },
        ),
        "vit": ("ViTForImageClassification", "ViTConfig", _IMAGE),
        "clip_vision": (
            "CLIPVisionModelWithProjection",
            "CLIPVisionConfig",
            {**_IMAGE, "projection_dim": 16},
        ),
        "clip": ("CLIPModel", "CLIPConfig", {"text_config": _LONG, "vision_config": _IMAGE}),
        "clip_text": ("CLIPTextModelWithProjection", "CLIPTextConfig", {**_LONG, "projection_dim": 16}),
    }
)
"""Name to class, configuration class and settings. T5 is there as encoder-decoder and as encoder."""

DECODERS = tuple(name for name, (cls, _, _) in ZOO.items() if "CausalLM" in cls or "LMHead" in cls)


def model(name: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    """A random model whose layers neither vanish nor explode."""
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    cls, config, settings = ZOO[name]
    torch.manual_seed(seed)
    made = getattr(transformers, config)(**{**settings, **changes})
    made._attn_implementation = "eager"
    made.use_cache = False
    module: nn.Module = getattr(transformers, cls)(made).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


def inputs(module: nn.Module, shapes: list[tuple[int, ...]], *, seed: int = 1) -> tuple[Tensor, ...]:
    """Images, or rows of the model's own embedding table."""
    rng = np.random.default_rng(seed)
    text: Any = getattr(module, "text_model", module)
    found = []
    for shape in shapes:
        if len(shape) == 4:
            found.append(torch.from_numpy(rng.normal(size=shape)).float())
        else:
            with torch.no_grad():
                tokens = torch.from_numpy(rng.integers(3, VOCABULARY, size=shape[:2]))
                found.append(text.get_input_embeddings()(tokens))
    return tuple(found)
