"""Tokens a second of an exported SavedModel and of KerasHub's generate(), greedy, same weights.

python benchmarks/decoding.py --batch 1 8
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import track

from pipelines.rows import Rows
from tfnlp.runtime.startup import quiet_start

with quiet_start():
    import tensorflow as tf

    from pipelines.encoding import prompts
    from tfnlp import task as tasks
    from tfnlp.backbones import families
    from tfnlp.exporting.writer import export
    from tfnlp.runs.experiment_yaml import from_values
    from tfnlp.training.model import TrainedModel, prepare

TEXT = "The history of the printing press begins in the city of Mainz, where a goldsmith"


def prepared(backbone: str, tokens: int, folder: str) -> TrainedModel:
    """Put the language model's task on a backbone, untrained."""
    task = tasks.load("language_model")
    values = {
        "task": {"name": "language_model", "max_tokens": tokens, "decoding": "greedy"},
        "data": {"train": "sample"},
        "backbone": {"name": backbone},
        "export": {"saved_models": folder},
    }
    made = from_values(values, task.options, "the benchmark")
    model = prepare(made, Rows("sample", {"text": [TEXT]}, [1]))
    model.lengths.append(32)
    return model


def contenders(
    model: TrainedModel, loaded: tf.Module, batch: int, tokens: int
) -> dict[str, Callable[[], np.ndarray]]:
    """Return what is timed, each a function that writes ``tokens`` tokens after the same text."""
    texts = tf.constant([TEXT] * batch)
    start = prompts.document_id(model.context.tokenizer)
    ids = model.context.tokenizer.tokenize(texts[:1])[0].numpy().tolist()
    ids = np.array([[start, *ids, *[0] * tokens]] * batch, "int32")
    mask = np.arange(ids.shape[1])[None].repeat(batch, 0) < ids.shape[1] - tokens
    hub = families.inside(model.network)
    hub.compile(sampler="greedy")
    settings = {
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "sampling_seed": 0,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "repetition_penalty": 1.0,
        "no_repeat_ngram": 0,
        "stop": "",
    }
    asked = {name: tf.fill([batch], value) for name, value in settings.items()}
    sample = loaded.signatures["sample"]

    def of_hub() -> np.ndarray:
        found = hub.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)
        return np.asarray(found["token_ids"][:, -tokens:])

    def of_saved_model() -> np.ndarray:
        found = sample(text=texts, **asked)
        assert (found["tokens"].numpy() == tokens).all()
        return np.asarray(found["generated"])

    return {"KerasHub generate() (XLA)": of_hub, "SavedModel, strings in and out": of_saved_model}


def main() -> None:
    """Time both in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="smollm2-135m")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = prepared(given.backbone, given.tokens, folder)
        saved = export(model, {}, "")
        weights = sum(4 * int(np.prod(w.shape)) for w in model.network.weights)
        size = sum(f.stat().st_size for f in Path(saved).rglob("*") if f.is_file())
        loaded = tf.saved_model.load(str(saved))
        print(
            f"{given.backbone}: weights {weights / 1e6:.1f} MB, SavedModel {size / weights:.3f} x"
        )
        print("\n| batch | what | tokens/s, median | times KerasHub |\n| --- | --- | --- | --- |")
        for batch in given.batch:
            calls = contenders(model, loaded, batch, given.tokens)
            texts = {name: call() for name, call in calls.items()}  # compiles
            hub, ours = texts.values()
            told = model.context.tokenizer.detokenize(tf.ragged.constant(hub.tolist(), tf.int32))
            same = sum(a == b for a, b in zip(told.numpy(), ours, strict=True))
            seconds: dict[str, list[float]] = {name: [] for name in calls}
            for _ in track(range(given.repeats), "timing", transient=True):
                for name, call in calls.items():
                    begin = time.perf_counter()
                    call()
                    seconds[name].append(time.perf_counter() - begin)
            rates = {n: batch * given.tokens / statistics.median(s) for n, s in seconds.items()}
            first = next(iter(rates.values()))
            for name, rate in rates.items():
                print(f"| {batch} | {name} | {rate:.1f} | {rate / first:.2f} |")
            print(f"| {batch} | same text | {same} of {batch} | |", flush=True)


if __name__ == "__main__":
    main()
