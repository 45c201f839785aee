"""Which of KerasHub's backbones can be used, and what each of them can do."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import keras_hub
from keras_hub.models import CausalLM, Seq2SeqLM

from tfnlp.task import Kind

# Encoders whose vocabularies we read: model_type of Hugging Face, and the class of KerasHub.
ENCODERS = {
    "bert": "BertBackbone",
    "distilbert": "DistilBertBackbone",
    "albert": "AlbertBackbone",
    "roberta": "RobertaBackbone",
    "xlm-roberta": "XLMRobertaBackbone",
    "electra": "ElectraBackbone",
    "deberta-v2": "DebertaV3Backbone",
    "mpnet": "MPNetBackbone",
}
_CALLS = {
    CausalLM: ["self", "token_ids"],
    Seq2SeqLM: ["self", "encoder_token_ids", "encoder_padding_mask", "decoder_token_ids"],
}


def kind_of(backbone: type) -> Kind | None:
    """Return what a KerasHub backbone class can do; None if it cannot be used here.

    Example::

        kind_of(keras_hub.models.GPT2Backbone)  # "causal"
    """
    if backbone.__name__ in ENCODERS.values():
        return "encoder"
    task = _writer(backbone)
    if task is None:
        return None
    return "encoder-decoder" if issubclass(task, Seq2SeqLM) else "causal"


def _writer(backbone: type) -> type | None:
    """Return KerasHub's task that writes with a backbone of this class, from text alone."""
    for found in vars(keras_hub.models).values():
        if not (isinstance(found, type) and issubclass(found, CausalLM)):
            continue
        if getattr(found, "backbone_cls", None) is not backbone:
            continue
        base = Seq2SeqLM if issubclass(found, Seq2SeqLM) else CausalLM
        build = getattr(found, "_build_cache", None)
        # Those that also see pictures ask for more.
        if build and list(inspect.signature(build).parameters) == _CALLS[base]:
            return found
    return None


def presets() -> list[str]:
    """List the names of KerasHub's presets that can be used.

    Example::

        "bert_base_en" in presets()  # True
    """
    classes: list[Any] = [c for c in vars(keras_hub.models).values() if isinstance(c, type)]
    usable = [c for c in classes if issubclass(c, keras_hub.models.Backbone) and kind_of(c)]
    return sorted({name for c in usable for name in c.presets})


def writer(backbone: keras.Model) -> Any:
    """Put KerasHub's CausalLM or Seq2SeqLM on a backbone; it shares the weights.

    Example::

        logits = writer(backbone)({"token_ids": ids, "padding_mask": mask})
    """
    task = _writer(type(backbone))
    assert task is not None
    return task(backbone)


def inside(network: keras.Model) -> Any:
    """Return the CausalLM or Seq2SeqLM of KerasHub's that a network has as a layer.

    Example::

        inside(model.network).backbone
    """
    return next(layer for layer in network.layers if isinstance(layer, CausalLM))
