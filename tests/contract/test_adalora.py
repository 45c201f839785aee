"""The weights that early stopping restores have the ranks that were logged for their epoch."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from tfnlp import task as tasks
from tfnlp.runs import storage
from tfnlp.training import answering, examples
from tfnlp.training.model import prepare
from tfnlp.training.trainer import Trainer


def _mean_rank(values):
    ranks = [np.count_nonzero(v) for path, v in values.items() if path.endswith("/lambda")]
    return sum(ranks) / len(ranks)


def test_the_best_epochs_weights_have_its_ranks(backbone, strategy_run, tmp_path):
    scores = iter([0.1, 0.9, 0.2, 0.3, 0.4])
    made = strategy_run.experiment(
        tmp_path,
        backbone,
        "supervised",
        peft={"name": "adalora", "warmup": 0.0, "final": 0.1},
        training={"epochs": 5, "patience": 3},
    )
    splits = examples.read_splits(made, tasks.load(made.task))
    model = prepare(made, splits.train)
    history = Trainer(model, splits, tmp_path / "checkpoints").fit(
        score=lambda: {"score": next(scores)}
    )
    ranks = [logs["adalora_rank"] for logs in history]
    assert len(ranks) == 5
    assert 12 > ranks[0] > ranks[1] > ranks[-1] == 8
    assert model.network.peft_step.logs()["adalora_rank"] == ranks[1]
    assert int(model.network.peft_step.done.numpy()) == 2 * -(-len(splits.train) // 8)
    storage.save(model, tmp_path)
    held = load_file(tmp_path / "model" / storage.TRAINED)
    assert _mean_rank(held) == ranks[1]
    loaded = storage.load(tmp_path)
    assert _mean_rank({w.path: w.numpy() for w in loaded.network.weights}) == ranks[1]
    before = answering.answer(model, splits.validation, asked=True)
    after = answering.answer(loaded, splits.validation, asked=True)
    np.testing.assert_array_equal(before["scores"], after["scores"])
