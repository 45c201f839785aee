"""What the checkpoints of Hugging Face call the layers of each kind of encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import keras_hub
from keras_hub.src.utils.keras_utils import gelu_approximate

from tfnlp.backbones.mpnet import POSITION_OFFSET, MPNetBackbone

_BERT_LAYER = {
    "_self_attention_layer.query_dense": "attention.self.query",
    "_self_attention_layer.key_dense": "attention.self.key",
    "_self_attention_layer.value_dense": "attention.self.value",
    "_self_attention_layer.output_dense": "attention.output.dense",
    "_self_attention_layer_norm": "attention.output.LayerNorm",
    "_feedforward_intermediate_dense": "intermediate.dense",
    "_feedforward_output_dense": "output.dense",
    "_feedforward_layer_norm": "output.LayerNorm",
}
_MPNET_LAYER = {
    **_BERT_LAYER,
    "_self_attention_layer.query_dense": "attention.attn.q",
    "_self_attention_layer.key_dense": "attention.attn.k",
    "_self_attention_layer.value_dense": "attention.attn.v",
    "_self_attention_layer.output_dense": "attention.attn.o",
    "_self_attention_layer_norm": "attention.LayerNorm",
}


_DISTILBERT_LAYER = {
    "_self_attention_layer.query_dense": "attention.q_lin",
    "_self_attention_layer.key_dense": "attention.k_lin",
    "_self_attention_layer.value_dense": "attention.v_lin",
    "_self_attention_layer.output_dense": "attention.out_lin",
    "_self_attention_layer_norm": "sa_layer_norm",
    "_feedforward_intermediate_dense": "ffn.lin1",
    "_feedforward_output_dense": "ffn.lin2",
    "_feedforward_layer_norm": "output_layer_norm",
}
_ALBERT_LAYER = {
    "_self_attention_layer.query_dense": "attention.query",
    "_self_attention_layer.key_dense": "attention.key",
    "_self_attention_layer.value_dense": "attention.value",
    "_self_attention_layer.output_dense": "attention.dense",
    "_self_attention_layer_norm": "attention.LayerNorm",
    "_feedforward_intermediate_dense": "ffn",
    "_feedforward_output_dense": "ffn_output",
    "_feedforward_layer_norm": "full_layer_layer_norm",
}


@dataclass(frozen=True)
class Family:
    """How the checkpoints of a ``model_type`` are laid out.

    Attributes:
        backbone: the class that computes it.
        arguments: of the class, and the words of config.json for them; one that config.json lacks
            keeps its default if there is one.
        outer: the names of layers outside of the transformer's, by their paths in the backbone.
        layer: the names in a transformer layer, by paths in KerasHub's.
        prefix: what all names begin with when a head was saved too.
        block: how a transformer layer's names begin; of layers in groups with two places.
        reserved: rows of the position embedding before the first token's.
        dropped: whether the backbone has no such rows, and no segments: the checkpoint's only
            segment is added to its positions.
    """

    backbone: type
    arguments: Mapping[str, str]
    outer: Mapping[str, str]
    layer: Mapping[str, str]
    prefix: str
    block: str = "encoder.layer.{}"
    reserved: int = 0
    dropped: bool = False


_ARGUMENTS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
}
OPTIONAL = ("dropout", "num_buckets", "num_segments")
_TOKENS, POSITIONS = "embeddings.word_embeddings", "embeddings.position_embeddings"
SEGMENTS, _NORM = "embeddings.token_type_embeddings", "embeddings.LayerNorm"
_BERT = {
    "token_embedding": _TOKENS,
    "position_embedding": POSITIONS,
    "segment_embedding": SEGMENTS,
    "embeddings_layer_norm": _NORM,
    "pooled_dense": "pooler.dense",
}
# Those whose tokens and positions KerasHub embeds in one layer.
_JOINT = {
    "embeddings.token_embedding": _TOKENS,
    "embeddings.position_embedding": POSITIONS,
    "embeddings_layer_norm": _NORM,
}
_MPNET = {name: stem for name, stem in _BERT.items() if stem != SEGMENTS}
_hub = keras_hub.models
_ROBERTA = Family(
    _hub.RobertaBackbone, _ARGUMENTS, _JOINT, _BERT_LAYER, "roberta.", reserved=2, dropped=True
)
FAMILIES = {
    "albert": Family(
        _hub.AlbertBackbone,
        {
            **_ARGUMENTS,
            "embedding_dim": "embedding_size",
            "num_groups": "num_hidden_groups",
            "num_inner_repetitions": "inner_group_num",
            "num_segments": "type_vocab_size",
        },
        {
            **_BERT,
            "embeddings_projection": "encoder.embedding_hidden_mapping_in",
            "pooled_dense": "pooler",
        },
        _ALBERT_LAYER,
        "albert.",
        "encoder.albert_layer_groups.{}.albert_layers.{}",
    ),
    "bert": Family(
        _hub.BertBackbone,
        {**_ARGUMENTS, "num_segments": "type_vocab_size"},
        _BERT,
        _BERT_LAYER,
        "bert.",
    ),
    "distilbert": Family(
        _hub.DistilBertBackbone,
        {
            **_ARGUMENTS,
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_dim": "dim",
            "intermediate_dim": "hidden_dim",
            "dropout": "dropout",
        },
        _JOINT,
        _DISTILBERT_LAYER,
        "distilbert.",
        "transformer.layer.{}",
    ),
    "mpnet": Family(
        MPNetBackbone,
        {**_ARGUMENTS, "num_buckets": "relative_attention_num_buckets"},
        {**_MPNET, "relative_bias": "encoder.relative_attention_bias"},
        _MPNET_LAYER,
        "mpnet.",
        reserved=POSITION_OFFSET,
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": dataclasses.replace(_ROBERTA, backbone=_hub.XLMRobertaBackbone),
}
# By the names that config.json gives them; the tanh form is an approximation of the exact GELU.
ACTIVATIONS = {
    "gelu": keras.activations.gelu,
    "gelu_new": gelu_approximate,
    "gelu_pytorch_tanh": gelu_approximate,
    "relu": keras.activations.relu,
}
