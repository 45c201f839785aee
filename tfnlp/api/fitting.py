"""Models trained and loaded from Python."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.api.model import Model, plain_errors
from tfnlp.cli import console, keywords
from tfnlp.extensions import Study, Trial
from tfnlp.report import Report
from tfnlp.runs import studies, study_files
from tfnlp.runtime import signals
from tfnlp.runtime.signals import Interrupted
from tfnlp.runtime.startup import quiet_start, several_graphs

if TYPE_CHECKING:
    import pandas

Plug = str | Mapping[str, Any]  # an entry's name, or a dict of its name and options

_TO_RESUME = "call it again with resume=True to continue"
_TRAINING = threading.Lock()  # held while a training goes on in this process


def fit(
    train: Any = None,
    *,
    task: str | None = None,
    validation: Any = None,
    test: Any = None,
    dataset: str | None = None,
    backbone: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    peft: Plug | None = None,
    strategy: Plug | None = None,
    augment: Plug | Sequence[Plug] | None = None,
    name: str | None = None,
    seed: int | None = None,
    resume: bool = False,
    verbose: bool = True,
    **options: Any,
) -> Model:
    """Fine-tune a pretrained backbone, evaluate it, export a SavedModel, and return the model.

    It does what ``python -m tfnlp.train`` does with the same options, and prints the same. Keras's
    random seed is set, and threads and devices as the options say; call it before other TensorFlow
    operations for the speed of the command. One call trains at a time in a process.

    Args:
        train: a file of rows; or rows in memory, as `pipelines.memory.rows` takes them: a data
            frame, a dict of columns, a list of rows. Those are kept in the cache, so that the run
            can be resumed and evaluated on them.
        task: what to learn, as ``available("tasks")`` lists it; ``classification`` if not given.
        validation: rows that decide when to stop; a part of ``train`` if not given.
        test: rows that the trained model is evaluated on.
        dataset: a built-in data set or ``tfds:NAME``, in place of files.
        backbone: what is fine-tuned, as ``available("backbones")`` lists it, or another name that
            ``--backbone`` takes.
        epochs: passes over the training rows, at most [epochs].
        batch_size: rows in a batch [rows].
        learning_rate: the highest learning rate.
        peft: how few weights are trained: a method's name, or a dict of its ``name`` and options.
        strategy: how to train, likewise.
        augment: how further training rows are made, one or several, likewise.
        name: what runs and SavedModels are filed under.
        seed: where every random choice starts from.
        resume: continue the last run of this name.
        verbose: print the plan, the progress and the result, with its warnings.
        **options: every other flag of ``python -m tfnlp.train``, with ``_`` for ``-``:
            ``max_length=256``, ``text_column="review"``, ``columns={"text": "review"}``,
            ``export=False``, ``config="experiment.yaml"``.

    Returns:
        The trained model, with its best weights.

    Raises:
        UserError: rows, options or files cannot be used, in one sentence.
        KeyboardInterrupt: Ctrl-C, or the notebook's interrupt; ``resume=True`` continues.

    Example::

        model = tfnlp.fit("reviews.csv", task="classification", epochs=3)
        model = tfnlp.fit({"text": texts, "label": labels}, peft={"name": "bitfit"})
    """
    given = {
        **options,
        **{"train": train, "validation": validation, "test": test, "dataset": dataset},
        **{"task": task, "backbone": backbone, "name": name, "seed": seed},
        **{"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
        **{"peft": peft, "strategy": strategy, "augment": augment},
    }
    with plain_errors(), _alone(), signals.restored():
        experiment = keywords.experiment(given, "fit()")
        if experiment.training.distribute == "multiworker":
            raise UserError(
                "fit() is one process, and distribute='multiworker' several (start python -m "
                "tfnlp.train in each)"
            )
        try:
            with signals.caught(f"; {_TO_RESUME}"):
                run = _train(experiment, resume, verbose)
        except Interrupted as stop:
            from tfnlp.training.state import RESUME

            told = str(stop).replace(RESUME, _TO_RESUME)
            name = signal.Signals(stop.signum).name
            raise Interrupted(stop.signum, told.removeprefix(name)) from None
    return Model(run)


@contextmanager
def _alone() -> Iterator[None]:
    """Refuse a second training at the same time: seeds, precision and devices are the process's."""
    if not _TRAINING.acquire(blocking=False):
        raise UserError(
            "fit() trains already in another thread (wait until it has ended, or call it in "
            "another process)"
        )
    try:
        yield
    finally:
        _TRAINING.release()


def _train(experiment: Any, resume: bool, verbose: bool) -> Path:
    """Train with the global settings of Keras as they were afterwards."""
    with quiet_start("keras_hub"):
        import keras
        import tensorflow as tf

        from tfnlp.api import training

        tf.config.list_physical_devices()
    policy = keras.config.dtype_policy()
    try:
        with several_graphs():
            run = training.train(experiment, resume=resume, verbose=verbose)
    finally:
        keras.config.set_dtype_policy(policy)
        console.out.quiet = console.err.quiet = False
    assert run is not None  # it is, of the one process that there is
    return run


def load(run: str | Path, *, trust: bool = False) -> Model:
    """Load the trained model of a run.

    Args:
        run: its folder, ``tensorboard_logs/NAME/RUN``.
        trust: import modules that are not tfnlp's and that the run was trained with: their code
            runs. Those that are imported already need none.

    Returns:
        The model, with its network.

    Raises:
        UserError: the folder holds no trained model, or a damaged one, or names modules that are
            not trusted.

    Example::

        tfnlp.load("tensorboard_logs/trec-classification/20261125-170635").network.summary()
    """
    model = Model(run, trust=trust)
    model.subject  # noqa: B018  (what is wrong with it is said now)
    return model


@dataclass(frozen=True)
class StudyResult:
    """The trials of a study.

    Attributes:
        folder: where best.yaml, trials.csv and report.html are.
        trials: what was trained, in order.
        report: what the study makes of them.
        best: the trial to take, as the study says; None if none has ended.
    """

    folder: Path
    trials: tuple[Trial, ...] = field(repr=False)  # pages of options
    report: Report
    best: Trial | None = field(repr=False)

    def to_frame(self) -> pandas.DataFrame:
        """Return the trials as a pandas DataFrame: what each changed, its metrics and its time.

        Raises:
            UserError: pandas is not installed.

        Example::

            result.to_frame().sort_values("test.accuracy")
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_frame needs pandas (pip install pandas)") from error
        return pandas.read_csv(self.folder / "trials.csv")

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        return self.report._repr_html_()


def run_study(
    study: Plug,
    train: Any = None,
    *,
    resume: bool = False,
    storage: str | None = None,
    verbose: bool = True,
    **options: Any,
) -> StudyResult:
    """Train several runs, each in a process of its own, and compare them.

    It does what ``python -m tfnlp.study`` does with the same options.

    Args:
        study: which, as ``available("studies")`` lists it, or a dict of its ``name`` and options.
        train: the rows, as of `fit`.
        resume: resume the study of this name, if there is one.
        storage: a database that keeps the trials, by SQLAlchemy's URL, for processes on machines
            that share no folder.
        verbose: print a line about each trial.
        **options: those of `fit`.

    Raises:
        UserError: rows or options cannot be used, or the study runs already.
        KeyboardInterrupt: Ctrl-C; ``resume=True`` continues.

    Example::

        result = tfnlp.run_study({"name": "seeds", "count": 3}, dataset="trec", epochs=1)
        tfnlp.load(result.best.run).export()
    """
    with plain_errors(), signals.restored():
        entry, own = keywords.plugged(Study, study, "run_study(): study")
        given = keywords.read({**options, "train": train}, "run_study()")
        experiment = given.experiment()
        asked = study_files.Asked(entry.name, entry.record, own, experiment, given.vary, storage)
        with signals.caught(f"; {_TO_RESUME}"):
            tell = console.line if verbose else lambda text: None
            trials, report = studies.run(asked, resume=resume, tell=tell)
    return StudyResult(asked.folder, tuple(trials), report, study_files.best(asked, trials))
