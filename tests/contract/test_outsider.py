"""An outsider's task, a module outside this tree, from its training file to its SavedModel."""

import importlib
import textwrap

import pytest

from tfnlp import task as tasks
from tfnlp import train
from tfnlp.cli import arguments
from tfnlp.inference import saved_model

IRONY = '''
"""How ironic a text is, from 0 to 1."""

from dataclasses import dataclass

from pipelines.rows import Column
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.task import Objective, Task

TEXT = Column("text", "text", "the text")
REPLIED = Column("replied", "text", "what the text is a reply to")
IRONY = Column("irony", "number", "how ironic it is")


@dataclass(frozen=True)
class Options:
    max_length: int = option(16, "longest text [tokens]", minimum=8)
    reply: bool = option(False, "each text is a reply to another")


def input_columns(options):
    return (REPLIED, TEXT) if options.reply else (TEXT,)


def encode(context, raw):
    from pipelines.encoding import segments

    texts = [raw[column.name] for column in input_columns(context.options)]
    features, lost = segments.encode(context.tokenizer, texts, context.max_length)
    return features, {"lost": lost}


def build(context, backbone):
    import keras

    output = keras.layers.Dense(1, "sigmoid", dtype="float32", name="irony")
    return keras.Model(backbone.input, output(backbone.output["pooled"]))


def report(context, rows, answers):
    errors = abs(answers["irony"] - context.facts["mean"])
    return Report({"mean_distance": float(errors.mean())})


TASK = Task(
    summary="how ironic a text is",
    dataset=None,
    options=Options,
    input_columns=input_columns,
    target_columns=lambda options: (IRONY,),
    sample=lambda options: [{"text": "Great.", "replied": "Rain!", "irony": 1.0}] * 4,
    learn=lambda rows, options: {"mean": sum(rows.columns["irony"]) / len(rows)},
    unusable_rows=lambda rows, facts: iter(()),
    encode=encode,
    encode_targets=lambda context, raw, features, offsets: (raw["irony"][:, None], None),
    build=build,
    objective=lambda context: Objective("binary_crossentropy", [], "val_loss", "min"),
    decode=lambda context, raw, outputs, offsets: {"irony": outputs[:, 0]},
    report=report,
    regress=lambda answers: answers["irony"],
)
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with the outsider's package and a training file, the place commands are run in."""
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "irony.py").write_text(textwrap.dedent(IRONY), "utf-8")
    lines = [f"Oh great {i},1\nIt rains {i},0" for i in range(20)]
    (tmp_path / "train.csv").write_text("\n".join(["text,irony", *lines]) + "\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.slow
def test_an_outsiders_task_from_training_to_answers(outside):
    flags = ["--name", "mine", "--layers", "1", "--batch-size", "4", "--learning-rate", "1e-3"]
    assert train.main(["--task", "mypackage.irony", "--train", "train.csv", *flags]) == 0
    folder = saved_model.find_model("mine")
    texts = ["Oh great 3", "It rains 4"]
    first, second = saved_model.load(folder).answer({"text": texts})
    assert first["irony"] > second["irony"] + 0.2
    assert {"tokens", "regress"} < saved_model.opened(folder).signatures
    columns = arguments.columns_of(tasks.load("mypackage.irony"))
    assert [column.name for column in columns] == ["text", "irony", "replied"]
