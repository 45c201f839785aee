"""LoRA's weights in the layout of Hugging Face's peft, read and written.

A folder has adapter_config.json and adapter_model.safetensors; peft keeps a matrix with its outputs
before its inputs.

Source: huggingface/peft, docs/source/developer_guides/checkpoint.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, safe_open

from pipelines.atomic import replacing_path
from pipelines.errors import UserError, reason
from pipelines.files.writers import write_tensors
from pipelines.json_files import read_json
from tfnlp.backbones.checkpoint_names import FAMILIES
from tfnlp.backbones.insertions import LowRank

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."  # what peft wraps a model in
# Parts of an encoder's layer, by the names of KerasHub's layers.
_PARTS = {
    "query": "_self_attention_layer.query_dense",
    "key": "_self_attention_layer.key_dense",
    "value": "_self_attention_layer.value_dense",
    "attention_output": "_self_attention_layer.output_dense",
    "feedforward_intermediate_dense": "_feedforward_intermediate_dense",
    "feedforward_output_dense": "_feedforward_output_dense",
}
_LLAMA = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "feedforward_intermediate_dense": "mlp.up_proj",
    "feedforward_gate_dense": "mlp.gate_proj",
    "feedforward_output_dense": "mlp.down_proj",
}
# What changes the sum W + scale * B A, and the value that leaves it as it is.
_PLAIN = {
    "use_dora": False,
    "bias": "none",
    "fan_in_fan_out": False,
    "lora_bias": False,
    "rank_pattern": {},
    "alpha_pattern": {},
}
# Ways to begin that leave a backbone with other weights than its checkpoint has.
_OTHER_BASE = ("pissa", "olora", "corda", "loftq")
_AGAIN = "save the adapter again with peft"
_TENSOR = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")


def modules(kind: str, block: int) -> dict[str, str]:
    """Return what Hugging Face calls the matrices of a transformer layer.

    Args:
        kind: a ``model_type``, such as ``bert`` or ``llama``.
        block: number of the layer, the lowest being 0.

    Returns:
        The name of KerasHub's layer -> that of the module in the bare model.

    Raises:
        UserError: models of this kind are not known here.

    Example::

        modules("bert", 0)["query"]  # "encoder.layer.0.attention.self.query"
    """
    if kind == "llama":
        return {part: f"layers.{block}.{name}" for part, name in _LLAMA.items()}
    if kind not in FAMILIES or kind == "albert":  # whose layers share weights
        known = ", ".join(sorted({*FAMILIES, "llama"} - {"albert"}))
        raise UserError(
            f"adapters of peft are not known for backbones of the kind {kind!r} (take one of "
            f"{known})"
        )
    family = FAMILIES[kind]
    names = {part: family.layer[path] for part, path in _PARTS.items()}
    return {part: f"{family.block.format(block)}.{name}" for part, name in names.items()}


def write(
    layers: Sequence[tuple[int, keras.layers.Layer]],
    blocks: int,
    kind: str,
    source: str,
    folder: Path,
) -> None:
    """Write what LoRA added as an adapter of peft's.

    Args:
        layers: the projections that have something added, each with the number of its transformer
            layer, the lowest being 0.
        blocks: how many transformer layers there are.
        kind: the backbone's ``model_type``.
        source: the backbone's name, which peft shows.
        folder: where to write; of one that is there the two files are replaced.

    Raises:
        UserError: the folder cannot be written, or adapters are not known for this kind.

    Example::

        write(layers, 6, "bert", "minilm-l6-en", Path("adapter"))
        # in PyTorch: PeftModel.from_pretrained(AutoModel.from_pretrained(BASE), "adapter")
    """
    tensors = {}
    for number, layer in layers:
        module = _PREFIX + _outer(kind)[-1] + modules(kind, number)[layer.name]
        for letter, weight in (("A", layer.insertion.a), ("B", layer.insertion.b)):
            value = np.ascontiguousarray(weight.numpy().T.astype("float32"))
            tensors[f"{module}.lora_{letter}.weight"] = value
    first = layers[0][1].insertion
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if kind == "llama" else "FEATURE_EXTRACTION",
        "base_model_name_or_path": source,
        "r": first.rank,
        "lora_alpha": first.scale * first.rank,
        "lora_dropout": 0.0,
        "target_modules": _targets(layers, blocks, kind),
        "use_rslora": False,
        "inference_mode": True,
        **_PLAIN,
    }
    text = json.dumps(config, indent=2) + "\n"
    try:
        if folder.exists():  # whatever else stands there is the user's
            with (
                replacing_path(folder / CONFIG) as described,
                replacing_path(folder / WEIGHTS) as weights,
            ):
                described.write_text(text, "utf-8")
                write_tensors(tensors, weights, {"format": "pt"})
        else:
            with replacing_path(folder) as aside:
                aside.mkdir()
                (aside / CONFIG).write_text(text, "utf-8")
                write_tensors(tensors, aside / WEIGHTS, {"format": "pt"})
    except OSError as error:
        raise UserError(
            f"cannot write the adapter {folder}: {reason(error)} (free space there, or name "
            "another folder)"
        ) from error


def _outer(kind: str) -> tuple[str, ...]:
    """Return what a module's name may begin with; last as it does in the model that is used."""
    return ("", "model.") if kind == "llama" else (FAMILIES[kind].prefix, "")


def _targets(
    layers: Sequence[tuple[int, keras.layers.Layer]], blocks: int, kind: str
) -> list[str] | str:
    """Return target_modules: ends of names, or an expression for whole names.

    peft takes every module whose name ends so, and ``output.dense`` is the end of attention's too.
    """
    names = {modules(kind, 0)[layer.name].partition(".0.")[2] for _, layer in layers}
    every = {name.partition(".0.")[2] for name in modules(kind, 0).values()}
    also = {other for name in names for other in every if other.endswith(f".{name}")}
    numbers = sorted({number for number, _ in layers})
    if also <= names and len(layers) == len(names) * blocks:
        return sorted(names)
    places = "|".join(map(str, numbers))
    return rf".*\.({places})\.({'|'.join(map(re.escape, sorted(names)))})"


def read(folder: Path, blocks: Sequence[Sequence[keras.layers.Layer]], kind: str) -> list[str]:
    """Give what LoRA added to a backbone the weights of an adapter of peft's.

    Args:
        folder: has adapter_config.json and adapter_model.safetensors.
        blocks: the layers of each transformer layer, the lowest first.
        kind: the backbone's ``model_type``.

    Returns:
        The names of what the adapter has for parts that the backbone is without, such as a head.

    Raises:
        UserError: the folder is no adapter, or damaged; it does more than LoRA; or it changes
            something of the backbone that these layers do not.

    Example::

        read(Path("adapter"), backbone.blocks[1:], "bert")  # ["classifier.bias", ...]
    """
    config = _config(folder)
    tensors = _tensors(folder)
    ours: dict[str, LowRank] = {}
    for number, block in enumerate(blocks):
        for layer in (inner for whole in block for inner in whole._flatten_layers()):
            if isinstance(getattr(layer, "insertion", None), LowRank):
                name = modules(kind, number)[layer.name]
                ours |= {outer + name: layer.insertion for outer in _outer(kind)}
    pairs: dict[str, dict[str, np.ndarray]] = {}
    left = []
    for name in tensors:
        match = _TENSOR.fullmatch(name)
        if not _of_backbone(name, kind):
            left.append(name)
        elif match:
            pairs.setdefault(match[1], {})[match[2]] = tensors[name]
        else:
            raise UserError(
                f"the adapter {folder} changes {name} of the backbone, which --peft lora does not "
                "(train it without modules_to_save or targets that are no linear layers)"
            )
    _check(folder, config, pairs, ours)
    for module, pair in pairs.items():
        ours[module].a.assign(pair["A"].T)
        ours[module].b.assign(pair["B"].T)
    return left


def _of_backbone(name: str, kind: str) -> bool:
    """Return whether a name is of something that the backbone has: no head, and no pooler."""
    if kind == "llama":
        roots = ["embed_tokens", "layers", "norm"]
    else:
        roots = ["embeddings", FAMILIES[kind].block.partition(".")[0]]
    return any(name.startswith(f"{outer}{root}.") for outer in _outer(kind) for root in roots)


def _config(folder: Path) -> dict[str, Any]:
    """Return adapter_config.json.

    Raises:
        UserError: there is none, or it says something else than plain LoRA.
    """
    file = folder / CONFIG
    if not file.exists():
        raise UserError(f"{folder} has no {CONFIG} (name the folder of an adapter of peft's)")
    config = dict(read_json(file, {"peft_type": str}, remedy=_AGAIN))
    if config["peft_type"] != "LORA":
        raise UserError(
            f"{file} is of the kind {config['peft_type']}, which cannot be read (only LORA can)"
        )
    read_json(file, {"r": int, "lora_alpha": (int, float)}, remedy=_AGAIN)
    if config["r"] < 1:
        raise UserError(f"{file} has r {config['r']}, and a rank is at least 1 ({_AGAIN})")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_OTHER_BASE):
        raise UserError(
            f"{file} has init_lora_weights {start!r}, which changes the backbone's own weights too "
            "(convert the adapter: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for name, plain in _PLAIN.items():
        if (config.get(name) or plain) != plain:
            raise UserError(
                f"{file} has {name} {config[name]!r}, which cannot be read here (train the adapter "
                f"with {name}={plain!r})"
            )
    return config


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of an adapter, float32, by their names in the model that peft wraps.

    Raises:
        UserError: there are none, or the file is damaged.
    """
    file = folder / WEIGHTS
    if not file.exists():
        raise UserError(f"{folder} has no {WEIGHTS} ({_AGAIN}; its pickled form is not read)")
    try:
        with safe_open(file, "tf") as opened:  # NumPy does not know bfloat16
            names = opened.keys()
            return {
                name.removeprefix(_PREFIX): np.asarray(
                    tf.cast(opened.get_tensor(name), "float32").numpy()
                )
                for name in names
            }
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged: {error} ({_AGAIN})") from error


def _check(
    folder: Path,
    config: Mapping[str, Any],
    pairs: Mapping[str, Mapping[str, np.ndarray]],
    ours: Mapping[str, LowRank],
) -> None:
    """Raise UserError if an adapter is not of the size, or not for the matrices, that LoRA has."""
    if not pairs:
        raise UserError(f"{folder / WEIGHTS} has no weights of LoRA ({_AGAIN})")
    rank, alpha = config["r"], config["lora_alpha"]
    scaling = "sqrt" if config.get("use_rslora") else "rank"
    scale = alpha / (math.sqrt(rank) if scaling == "sqrt" else rank)
    first = next(iter(ours.values()))
    if first.rank != rank or not math.isclose(first.scale, scale, rel_tol=1e-6):
        raise UserError(
            f"the adapter {folder} has other sizes than this run (give --lora-rank {rank} "
            f"--lora-alpha {alpha:g} --lora-scaling {scaling})"
        )
    for module, pair in pairs.items():
        if module not in ours:
            raise UserError(
                f"the adapter {folder} adds to {module}, and this run does not (its "
                "target_modules must be among --lora-targets, and its model of the same kind as "
                "the backbone)"
            )
        found = [pair[letter].T.shape if letter in pair else None for letter in "AB"]
        wanted = [tuple(ours[module].a.shape), tuple(ours[module].b.shape)]
        if found != wanted:
            raise UserError(
                f"{module} of the adapter {folder} has matrices of the shapes {found}, and this "
                f"backbone's are {wanted} (take the backbone that it was trained on)"
            )
