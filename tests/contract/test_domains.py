"""Strategies of several tasks, domains and runs, from rows to scores, killed between their fits."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.files.writers import write_json
from tfnlp import extensions
from tfnlp.extensions import Strategy
from tfnlp.inference import saved_model
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import write_yaml

pytestmark = pytest.mark.usefixtures("deterministic")
NAMES = ["ann", "bo", "kim", "zed"]


class Killed(BaseException):
    """Stands for kill -9: nothing in the code may catch it and save."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A further task's experiment, and texts of another domain."""
    folder = tmp_path_factory.mktemp("files")
    rows = [
        {"text": f"see {name} now {n}", "entities": [[4, 4 + len(name), "who"]]}
        for n in range(6)
        for name in NAMES
    ]
    (folder / "names.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = json.dumps(str(folder / "names.jsonl"))
    (folder / "who.yaml").write_text(
        f"task: {{name: ner, max_length: 32}}\nname: who\ndata: {{train: {train}}}\n"
    )
    texts = [f"{color} 衣服 {n} fits well" for n in range(12) for color in ("red", "blue")]
    (folder / "shoes.txt").write_text("\n".join(texts), "utf-8")
    return folder


def _strategies(files):
    target = str(files / "shoes.txt")
    return {
        "multi_task": {"together_with": [str(files / "who.yaml")], "weights": "uncertainty"},
        "domain_adversarial": {"target": target, "compare": False},
        "mmd": {"target": target, "compare": False},
        "domain_adaptive": {"target": target, "epochs": 2, "compare": False},
    }


# Of multi_task in the second of three fits, of domain_adaptive in the first of two.
KILLS = {
    "multi_task": "alone_0:3",
    "domain_adversarial": "fit:7",
    "mmd": "fit:7",
    "domain_adaptive": "domain:2",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_killed_it_ends_as_if_it_was_not(name, backbone, files, strategy_run, tmp_path):
    strategy = {"name": name, **_strategies(files)[name]}

    def made(folder):
        return strategy_run.experiment(tmp_path / folder, backbone, strategy)

    def kill():
        raise Killed

    fit, batch = KILLS[name].split(":")
    whole = strategy_run.fit(made("whole"))
    with pytest.raises(Killed):
        strategy_run.fit(made("cut"), further=strategy_run.killing(fit, int(batch), kill))
    assert strategy_run.fit(made("cut"), resume=True) == whole


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "adapters"])
@pytest.mark.parametrize("name", KILLS)
def test_they_train_with_peft(name, peft, backbone, files, strategy_run, tmp_path):
    strategy = {"name": name, **_strategies(files)[name]}
    options = {"name": peft} if peft == "lora" else {"name": peft, "size": 4}
    made = strategy_run.experiment(tmp_path, backbone, strategy, peft=options)
    _, histories = strategy_run.fit(made)
    assert all(np.isfinite(e["loss"]) for h in histories.values() for e in h)


@pytest.mark.slow
def test_a_run_of_two_tasks_ends_in_one_saved_model(backbone, files, strategy_run, tmp_path):
    strategy = {"name": "multi_task", **_strategies(files)["multi_task"], "compare": False}
    made = strategy_run.experiment(tmp_path, backbone, strategy, export={"export": True})
    run, found = strategy_run.train(made)
    assert {"toy_accuracy", "who_f1"} <= found["metrics"]["strategy"].keys()
    logged = found["histories"]["history.json"][-1]
    assert {"toy_loss", "who_loss", "toy_weight", "who_f1", "score"} <= logged.keys()
    folder = tmp_path / "saved_models" / "toy" / "1"
    assert json.loads((folder / "metrics.json").read_text())["run"]
    saved = saved_model.opened(folder, "float32")
    texts = {"text": ["see kim now", "red apple"]}
    (first, _) = saved.model("who").answer(texts)
    alone = storage.load(run / "heads" / "who")
    assert alone.experiment.task == "ner"
    assert "entities" in first
    assert {"toy.label", "who.entities"} <= saved.model("all").answer(texts)[0].keys()
    mixed = saved.model("heads").answer({**texts, "head": ["who", "toy"]})
    assert [set(answer) - {"head"} for answer in mixed] == [
        {"entities"},
        {"label", "score", "scores"},
    ]


def test_a_further_task_is_refused_in_a_sentence(backbone, files, strategy_run, tmp_path):
    other = tmp_path / "other.yaml"

    def refused(text):
        other.write_text(text)
        strategy = {"name": "multi_task", "together_with": [str(other)]}
        strategy_run.fit(strategy_run.experiment(tmp_path / "run", backbone, strategy))

    train = f"data: {{train: {files / 'names.jsonl'}}}\n"
    with pytest.raises(UserError, match=r"other.yaml is named 'toy', as another of the tasks is"):
        refused(f"task: ner\nname: toy\n{train}")
    with pytest.raises(UserError, match="has a section training that differs"):
        refused(f"task: ner\nname: a\ntraining: {{epochs: 9}}\n{train}")
    with pytest.raises(UserError, match=r"other.yaml: --max-length 512 is more than the 64 tokens"):
        refused(f"task: {{name: ner, max_length: 512}}\nname: a\n{train}")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), ("name,label\nred,1\n", "no column 'text'")],
)
def test_a_target_file_that_does_not_do(text, message, backbone, strategy_run, tmp_path):
    file = tmp_path / "target.csv"
    file.write_text(text)
    strategy = {"name": "mmd", "target": str(file), "compare": False}
    made = strategy_run.experiment(tmp_path / "run", backbone, strategy)
    with pytest.raises(UserError, match=message):
        strategy_run.fit(made)


@pytest.fixture(scope="module")
def earlier(backbone, strategy_run, tmp_path_factory):
    """Runs of one beginning, two with equal labels and one with others."""
    folder = tmp_path_factory.mktemp("earlier")
    found = {}
    for name, labels in (("one", "fruit water"), ("two", "fruit water"), ("three", "fruit mud")):
        made = strategy_run.experiment(folder / name, backbone, "supervised")
        file = folder / name / "own.jsonl"
        rows = [
            {"text": f"{t} {n}", "label": label}
            for n in range(20)
            for t, label in zip(("red apple", "blue sea"), labels.split(), strict=True)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = dataclasses.replace(made.data, train=str(file))
        made = dataclasses.replace(made, data=data, name=name)
        trained = strategy_run.trainer(made)
        trained.fit()
        storage.save(trained.model, folder / name)
        write_yaml(made, folder / name / "experiment.yaml")
        write_json(folder / name / "metrics.json", {})
        found[name] = str(folder / name)
    return found


@pytest.mark.parametrize(
    ("by", "runs"),
    [
        pytest.param("answers", ["one", "three"], marks=pytest.mark.slow),
        ("task-vectors", ["one", "three"]),
        pytest.param("soup", ["one", "two"], marks=pytest.mark.slow),
    ],
)
def test_runs_become_one(by, runs, earlier, backbone, strategy_run, tmp_path):
    strategy = {"name": "fusion", "runs": [earlier[name] for name in runs], "by": by}
    made = strategy_run.experiment(tmp_path, backbone, strategy)
    trainer = strategy_run.trainer(made)
    outcome = extensions.load(Strategy, "fusion").train(trainer)
    rows = outcome.report.tables[0].rows
    assert [row[0].split(" (")[0] for row in rows] == [f"rows of {name}" for name in runs]
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[1:])
    model = outcome.model or trainer.model
    labels = model.context.facts["labels"]
    assert labels == (["fruit", "water", "mud"] if "three" in runs else ["fruit", "water"])
    if by == "answers":
        return
    heads = [storage.load(tmp_path.__class__(earlier[name])) for name in runs]
    fruit = [h.network.get_layer("logits").kernel.numpy()[:, 0] for h in heads]
    if by == "task-vectors":  # a label that both know is the mean of theirs
        own = model.network.get_layer("logits").kernel.numpy()
        assert np.allclose(own[:, 0], np.mean(fruit, 0), atol=1e-6)
        known = heads[1].context.facts["labels"].index("mud")
        mud = heads[1].network.get_layer("logits").kernel.numpy()[:, known]
        assert np.allclose(own[:, 2], mud, atol=1e-6)


def test_runs_that_began_otherwise_are_refused(
    earlier, backbone, backbone_of_two_layers, strategy_run, tmp_path
):
    def refused(on, by, **sections):
        strategy = {"name": "fusion", "runs": [earlier["one"], earlier["three"]], "by": by}
        made = strategy_run.experiment(tmp_path, on, strategy, **sections)
        extensions.load(Strategy, "fusion").train(strategy_run.trainer(made))

    with pytest.raises(UserError, match=r"began on the backbone .*: what runs learned can be add"):
        refused(backbone_of_two_layers, "task-vectors")
    with pytest.raises(UserError, match="has another network or other labels than this run"):
        refused(backbone, "soup")


@pytest.mark.slow
def test_the_model_that_is_made_is_the_run_s(earlier, backbone, strategy_run, tmp_path):
    strategy = {"name": "fusion", "runs": [earlier["one"], earlier["three"]], "by": "task-vectors"}
    run, found = strategy_run.train(strategy_run.experiment(tmp_path, backbone, strategy))
    assert storage.load(run).context.facts["labels"] == ["fruit", "water", "mud"]
    assert 0.1 <= found["metrics"]["strategy"]["share"] <= 1
