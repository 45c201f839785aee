"""The peers of benchmarks/speed.py: Transformers and ONNX Runtime, as their users write them.

Run by benchmarks/speed.py in an environment of its own: PYTHON speed_peer.py JOB JSON
Each job prints one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()

import numpy as np  # noqa: E402
from speed_parts import peak  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

LENGTH = 128


def rows(path: str) -> tuple[list[str], list[str]]:
    """Read texts and labels."""
    found = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    return [row["text"] for row in found], [row["label"] for row in found]


def train(given: dict) -> dict:
    """Fine-tune by Trainer; evaluate on the test rows."""
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(given["seed"])
    tokenizer = AutoTokenizer.from_pretrained(given["weights"])
    names = sorted(set(rows(given["train"])[1]))

    def encoded(path: str) -> list[dict]:
        texts, labels = rows(path)
        ids = tokenizer(texts, truncation=True, max_length=LENGTH)
        kept = [i for i, label in enumerate(labels) if label in names]
        return [{**{k: ids[k][i] for k in ids}, "labels": names.index(labels[i])} for i in kept]

    model = AutoModelForSequenceClassification.from_pretrained(
        given["weights"], num_labels=len(names)
    )
    settings = TrainingArguments(
        given["folder"],
        per_device_train_batch_size=given["batch_size"],
        per_device_eval_batch_size=64,
        learning_rate=given["learning_rate"],
        num_train_epochs=given["epochs"],
        weight_decay=0.01,
        warmup_steps=0.1,
        bf16=given["bf16"],
        use_cpu=True,
        train_sampling_strategy="group_by_length" if given["grouped"] else "random",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=given["seed"],
    )
    trainer = Trainer(
        model,
        settings,
        train_dataset=encoded(given["train"]),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())
        },
    )
    trainer.train()
    found = trainer.evaluate(encoded(given["test"]))
    return {"accuracy": found["eval_accuracy"]}


def export(given: dict) -> dict:
    """Write tfnlp's trained model, mean pooling and its head, as ONNX in float32."""
    import torch
    from transformers import AutoModel

    head = np.load(given["head"])

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(given["weights"], attn_implementation="eager")
            self.head = torch.nn.Linear(*head["kernel"].shape)
            self.head.weight.data = torch.tensor(head["kernel"].T)
            self.head.bias.data = torch.tensor(head["bias"])

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
            mask = attention_mask[..., None].float()
            return self.head((states * mask).sum(1) / mask.sum(1))

    names = ["input_ids", "attention_mask"]
    example = torch.ones((2, 5), dtype=torch.int64)
    torch.onnx.export(
        Classifier().eval(),
        (example, example),
        given["onnx"],
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in names},
        dynamo=False,
    )
    return {}


def onnx(given: dict) -> dict:
    """Answer the test rows, short ones first, in batches of 32; then one at a time."""
    import onnxruntime

    tokenizer = AutoTokenizer.from_pretrained(given["weights"])
    session = onnxruntime.InferenceSession(given["onnx"], providers=["CPUExecutionProvider"])
    texts, labels = rows(given["test"])

    def answer(part: list[str]) -> np.ndarray:
        found = tokenizer(
            part, padding=True, truncation=True, max_length=LENGTH, return_tensors="np"
        )
        given = {name: found[name] for name in ("input_ids", "attention_mask")}
        return np.asarray(session.run(None, given)[0].argmax(-1))

    def all_of_them() -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        answers = np.empty(len(texts), int)
        for start in range(0, len(texts), 32):
            places = order[start : start + 32]
            answers[places] = answer([texts[i] for i in places])
        return answers

    answers = all_of_them()
    begun = time.perf_counter()
    all_of_them()
    rate = len(texts) / (time.perf_counter() - begun)
    names = given["labels"]
    right = [names[a] == label for a, label in zip(answers, labels, strict=True)]
    return {"rate": rate, "accuracy": float(np.mean(right)), "one": one(answer, texts)}


def one(answer: Callable[[list[str]], Any], texts: list[str]) -> float:
    """Return the median time of a text alone [ms]."""
    taken = []
    for text in texts[:200]:
        begun = time.perf_counter()
        answer([text])
        taken.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(taken))


def pipeline(given: dict) -> dict:
    """Answer texts by a pipeline, as its documentation shows it."""
    from transformers import pipeline as made

    texts = rows(given["test"])[0][:500]
    classify = made("text-classification", model=given["weights"], device=-1)
    classify(texts[:32], truncation=True, max_length=LENGTH)
    begun = time.perf_counter()
    classify(texts, truncation=True, max_length=LENGTH)
    return {"rate": len(texts) / (time.perf_counter() - begun)}


def tokens(given: dict) -> dict:
    """Tokenize, cut and pad texts in batches."""
    tokenizer = AutoTokenizer.from_pretrained(given["weights"])
    texts = rows(given["test"])[0]
    count, begun = 0, time.perf_counter()
    for start in range(0, len(texts), given["batch_size"]):
        part = texts[start : start + given["batch_size"]]
        found = tokenizer(
            part, padding=True, truncation=True, max_length=LENGTH, return_tensors="np"
        )
        count += int(found["attention_mask"].sum())
    return {"rate": count / (time.perf_counter() - begun)}


JOBS = {job.__name__: job for job in (train, export, onnx, pipeline, tokens)}

if __name__ == "__main__":
    told = JOBS[sys.argv[1]](json.loads(sys.argv[2]))
    told["seconds"] = time.perf_counter() - BEGUN
    told["megabytes"] = peak()
    print(json.dumps(told))
