"""Options that would have no effect are refused before training; `validate` says the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import yaml

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.api import training as api
from tfnlp.cli.arguments import Parser, parse
from tfnlp.data_checks import effects, rows
from tfnlp.data_checks.effects import Known
from tfnlp.extensions import Strategy, names
from tfnlp.heads import sentence_vector
from tfnlp.runs.experiment_yaml import to_values

LM = "--task=language_model"
SCRATCH = "--backbone=scratch:1x64"


def parsed(*argv: str) -> Any:
    own = [] if any(flag.startswith("--dataset") for flag in argv) else ["--train=a.csv"]
    return parse([*own, *argv], Parser(prog="it"))[0]


# What is refused, how the sentence begins, and what it ends with.
ALONE = [
    (["--overlap=64"], "--overlap 64 has no effect with --windows 1", "raise --windows, or"),
    (["--windows=3", "--max-length=32"], "--windows 3 reads hardly more than one", "lower --over"),
    (["--pair", "--windows=2", "--overlap=62"], "--windows 2 reads hardly more", "lower --overlap"),
    (["--label-separator=;"], "--label-separator ';' has no effect", "leave out"),
    (["--on-bad-row=quarantine", "--dataset=trec"], "--on-bad-row quarantine keeps", "skip, or"),
    (["--validation=b.csv", "--validation-share=0.2"], "--validation-share 0.2 has no effect", ""),
    (
        ["--test=b.csv", "--test-share=0.2"],
        "--test-share 0.2 has no effect, for there are",
        "leave",
    ),
    (["--augment-times=2"], "--augment-times 2 has no effect without --augment", "augmenter, or"),
    (["--learning-rate=0"], "--learning-rate 0.0 trains nothing", "raise it, or leave out"),
    (["--weight-decay=1e5"], "--weight-decay 100000.0 takes weights beyond 0", "lower it, or"),
    (["--clip-norm=1e-9"], "--clip-norm 1e-09 leaves gradients too small", "0 for no clipping, or"),
    (["--schedule=cosine", "--warmup=1"], "--schedule cosine has no effect", "lower --warmup"),
    ([LM, SCRATCH, "--layers=2"], "--layers 2 has no effect on --backbone scratch:1x64", "HIDDEN"),
    ([LM, "--pair", "--unit=row"], "--unit row has no effect with --pair", ""),
    ([LM, "--pair", "--separator=line"], "--separator line has no effect", ""),
    ([LM, "--unit=row", "--separator=line"], "--separator line has no effect", ""),
    ([LM, "--strategy=gan", "--separator=line"], "--separator line has no effect", ""),
    ([LM, "--judged=7"], "--judged 7 has no effect without --pair", "give --pair, or leave out"),
    ([LM, "--min-tokens=65"], "--min-tokens 65 is more than --max-tokens 64", "lower it"),
    ([LM, "--temperature=101"], "--temperature 101.0 is taken as 100", "lower it"),
    ([LM, "--repetition-penalty=101"], "--repetition-penalty 101.0 is taken as 100", "lower it"),
    (["--task=dialogue", "--no-repeat-ngram=1001"], "--no-repeat-ngram 1001 is taken as", "lower"),
    ([LM, "--decoding=contrastive", "--top-k=65"], "--top-k 65 is taken as 64", "lower it"),
]


@pytest.mark.parametrize(("argv", "begins", "remedy"), ALONE, ids=lambda value: str(value)[:40])
def test_an_option_without_effect_is_refused(argv, begins, remedy):
    (sentence,) = effects.without(Known(parsed(*argv)))
    assert sentence.startswith(begins)
    assert remedy in sentence.partition("(")[2]
    assert sentence.endswith(")")


@pytest.mark.parametrize(
    "argv",
    [
        ["--overlap=64", "--windows=2"],
        ["--overlap=125", "--windows=2"],
        ["--pair", "--overlap=61", "--windows=2"],
        ["--overlap=32"],  # the default, as experiment.yaml holds it
        ["--task=multi_label", "--label-separator=;"],
        ["--on-bad-row=quarantine"],
        ["--on-bad-row=skip", "--dataset=trec"],
        ["--validation-share=0.2"],
        ["--augment=aeda", "--augment-times=2"],
        ["--schedule=cosine", "--warmup=0.9"],
        ["--peft=bitfit"],  # whose learning rate is another default
        ["--batch-size=1", "--projector=0"],
        [LM, "--strategy=gan"],  # whose --unit is another default
        [LM, SCRATCH, "--unit=row"],
        [LM, "--separator=line", "--temperature=100", "--top-k=65"],
        [LM, "--pair", "--judged=7", "--min-tokens=64"],
    ],
    ids=" ".join,
)
def test_one_with_effect_is_not(argv):
    assert list(effects.without(Known(parsed(*argv)))) == []


@pytest.mark.parametrize("name", discover.names("tfnlp.tasks"))
def test_what_a_task_does_by_default_has_an_effect(name):
    task = tasks.load(name)
    experiment = parsed(f"--task={name}")
    known = Known(experiment)
    assert list(effects.without(known)) == []
    flags = [f for f, value in vars(task.options()).items() if isinstance(value, bool)]
    for flag in flags:
        usual = getattr(experiment.options, flag)
        given = f"--{'no-' * usual}{flag.replace('_', '-')}"
        assert list(effects.without(Known(parsed(f"--task={name}", given)))) == []


@pytest.mark.parametrize("name", names(Strategy))
def test_what_a_strategy_does_by_default_has_an_effect(name):
    try:
        experiment = parsed(LM, f"--strategy={name}")
    except UserError:
        pytest.skip("it is for other tasks")
    assert list(effects.without(Known(experiment))) == []


def test_experiment_yaml_is_checked_by_what_differs_from_the_defaults(tmp_path):
    file = tmp_path / "experiment.yaml"
    for overlap, count in ((32, 0), (64, 1)):
        values = to_values(parsed())
        values["task"]["overlap"] = overlap
        file.write_text(yaml.safe_dump(values), "utf-8")
        again, _ = parse(["--config", str(file)], Parser(prog="it"))
        assert len(list(effects.without(Known(again)))) == count


def known(
    *argv: str,
    kind: str = "encoder",
    target: Any = None,
    trained: bool = True,
    outputs: tuple = (None, 4),
    sources: tuple[str, str] = ("a", "a"),
    **facts: Any,
) -> Known:
    """Return what is known of a run whose model would be this."""
    context = SimpleNamespace(facts=facts, kind=kind, target=target, positions=100)
    experiment = parsed(*argv)
    context.options = experiment.options
    blocks = ((SimpleNamespace(trainable_weights=[1] * trained),),)
    before = keras.Input(outputs[1:])
    network = SimpleNamespace(layers=[SimpleNamespace(input=before)])
    task = tasks.load(experiment.task)
    model: Any = SimpleNamespace(
        context=context, blocks=blocks, network=network, task=task, experiment=experiment
    )
    train, validation = (Rows(source, {}, []) for source in sources)
    return Known(experiment, {"train": train, "validation": validation}, model)


OF_MODEL = [
    (["--validation-share=0.2"], {"sources": ("trec[train]", "trec[validation]")}, "share"),
    (["--validation-share=0.2"], {}, ""),
    (["--layer-decay=0.9"], {"trained": False}, "--layer-decay 0.9 has no effect"),
    (["--layer-decay=0.9"], {}, ""),
    (["--projector=9", "--task=ner"], {"outputs": (None, 7, 4)}, "--projector 9 has no"),
    (["--projector=0", "--task=ner"], {"outputs": (None, 7, 4)}, ""),
    (["--projector=9"], {}, ""),
    (
        ["--task=multi_label", "--class-weights=balanced"],
        {"labels": ["a"]},
        "--class-weights balanced has no effect",
    ),
    (["--task=multi_label", "--class-weights=balanced"], {"labels": ["a", "b"]}, ""),
    (
        ["--task=relation_extraction", "--none-label=nothing"],
        {"labels": ["a", "none"]},
        "--none-label nothing has no effect",
    ),
    (["--task=relation_extraction", "--none-label=none"], {"labels": ["a", "none"]}, ""),
    (["--task=relation_extraction"], {"labels": ["a", "b"]}, ""),
    (
        ["--task=similarity", "--pair", "--temperature=0.1"],
        {"reading": "scores", "scores": [0, 1]},
        "--temperature 0.1 has no effect on pairs with scores",
    ),
    (["--task=similarity", "--pair", "--temperature=0.1"], {}, ""),
    (["--task=similarity", "--batch-size=1"], {}, "--batch-size 1 teaches --task simil"),
    (["--task=similarity", "--pair", "--batch-size=1"], {}, "give at least 2, or leave"),
    (["--task=similarity", "--pair", "--batch-size=1"], {"reading": "triplets"}, ""),
    (
        ["--task=similarity", "--pair", "--batch-size=1"],
        {"reading": "scores", "scores": [0, 1]},
        "",
    ),
    (["--task=similarity", "--batch-size=2"], {}, ""),
    (["--task=translation", "--decoder-layers=2"], {"kind": "causal"}, "--decoder-layers 2"),
    (["--task=translation", "--decoder-layers=2"], {}, ""),
    (
        ["--task=translation", "--target-vocabulary=learned"],
        {"kind": "encoder-decoder"},
        "--target-vocabulary learned has no effect",
    ),
    (["--task=translation", "--vocabulary-size=500"], {}, "--vocabulary-size 500 has no"),
    (["--task=translation", "--vocabulary-size=500"], {"target": "learned"}, ""),
    ([LM, SCRATCH, "--vocabulary-size=500"], {"kind": "causal"}, ""),
    (["--task=translation", "--max-tokens=101"], {}, "--max-tokens 101 is not from 2 to 100"),
    (["--task=translation", "--max-tokens=1"], {}, "--max-tokens 1 is not from 2 to 100"),
    (["--task=translation", "--max-tokens=1"], {"kind": "causal"}, ""),
    (["--task=translation", "--max-tokens=100"], {}, ""),
]


@pytest.mark.parametrize(("argv", "of", "said"), OF_MODEL)
def test_what_the_rows_and_the_model_tell(argv, of, said):
    found = list(effects.without(known(*argv, **of)))
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_a_batch_of_one_row_has_no_negative_but_that_of_a_triplet():
    unit = keras.ops.convert_to_tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]])
    loss = sentence_vector.Contrastive(0.05)
    assert float(loss(keras.ops.array([[1, 2]]), unit[:, :2])) == 0
    assert float(loss(keras.ops.array([[1, 2, 3]]), unit)) > 0


@pytest.fixture
def ends_where_rows_are_read(monkeypatch):
    def read(*_: object) -> None:
        raise KeyError("rows are read")

    monkeypatch.setattr(api.examples, "read_splits", read)


def test_train_refuses_and_resume_does_not(tmp_path, monkeypatch, ends_where_rows_are_read):
    monkeypatch.chdir(tmp_path)
    experiment = parsed("--overlap=64", "--name=it")
    with pytest.raises(UserError, match="--overlap 64 has no effect"):
        api.train(experiment)
    with pytest.raises(UserError, match="--overlap 64 has no effect"):
        api.train(experiment, resume=True)  # there is no run yet, so this begins one
    run = api.folders.new_run(experiment)
    with pytest.raises(KeyError, match="rows are read"):
        api.train(experiment, resume=True)
    assert api.folders.last_run(experiment) == run


def test_validate_says_what_train_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\n", "utf-8")
    errors = [finding.message for finding in rows.check(parsed("--overlap=64")).errors]
    assert sum("--overlap 64 has no effect" in message for message in errors) == 1
