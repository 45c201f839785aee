"""Adapters in the layout of Hugging Face's peft, for tiny models: random weights from a seed.

What peft makes of them is in tiny_adapters.json, which tiny_adapters_reference.py wrote once.
"""

from __future__ import annotations

import importlib.util
import json
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

_spec = importlib.util.spec_from_file_location(
    "tiny_folders", Path(__file__).with_name("tiny_folders.py")
)
tiny_folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_folders)

HIDDEN, INNER = tiny_folders.HIDDEN, tiny_folders.INNER
RANK, ALPHA = 3, 5.0
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 60,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "torch_dtype": "float32",
}
LLAMA_LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
LAYERS = {
    "bert": tiny_folders.BERT_LAYER,
    "roberta": tiny_folders.BERT_LAYER,
    "mpnet": tiny_folders.MPNET_LAYER,
    "distilbert": tiny_folders.DISTILBERT_LAYER,
    "llama": LLAMA_LAYER,
}
IDS = [[5, 9, 21, 33, 7, 2], [8, 8, 14, 3, 2, 6]]  # none is padding of any kind


def write_llama(folder: Path) -> Path:
    """Write a tiny Llama, without a tokenizer; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    made = {"model.embed_tokens.weight": random.normal(0, 1, (60, HIDDEN))}
    for number in range(2):
        for name, shape in LLAMA_LAYER.items():
            made[f"model.layers.{number}.{name}.weight"] = random.normal(0, 0.3, shape)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            made[f"model.layers.{number}.{norm}.weight"] = random.uniform(0.5, 1.5, HIDDEN)
    made["model.norm.weight"] = random.uniform(0.5, 1.5, HIDDEN)
    tensors = {name: value.astype("float32") for name, value in made.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return folder


def write(kind: str, folder: Path, **changed: object) -> Path:
    """Write an adapter for all matrices of a kind's tiny model; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(zlib.crc32(f"adapter {kind}".encode()))
    block = {"distilbert": "transformer.layer", "llama": "model.layers"}.get(kind, "encoder.layer")
    matrices = {name: shape for name, shape in LAYERS[kind].items() if len(shape) == 2}
    tensors = {}
    for number in range(2):
        for name, (outputs, inputs) in matrices.items():
            stem = f"base_model.model.{block}.{number}.{name}"
            tensors[f"{stem}.lora_A.weight"] = random.normal(0, 0.3, (RANK, inputs))
            tensors[f"{stem}.lora_B.weight"] = random.normal(0, 0.3, (outputs, RANK))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if kind == "llama" else "FEATURE_EXTRACTION",
        "base_model_name_or_path": "tiny",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": sorted(matrices),
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_dora": False,
        "inference_mode": True,
        **changed,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    found = {name: value.astype("float32") for name, value in tensors.items()}
    save_file(found, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder
