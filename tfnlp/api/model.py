"""A trained model in Python: asked, evaluated, explained, checked and exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines import memory
from pipelines.errors import UserError
from pipelines.json_files import read_json
from pipelines.rows import Column
from tfnlp import extensions, task
from tfnlp.api import auditing, errors, evaluating, explaining, exporting
from tfnlp.api.auditing import Audited
from tfnlp.api.errors import Errors
from tfnlp.api.explaining import Explained
from tfnlp.cli import keywords
from tfnlp.extensions import Audit, Explanation, Wanted, consent
from tfnlp.inference import served
from tfnlp.options import make
from tfnlp.report import Report, results
from tfnlp.runs import subject as subjects
from tfnlp.runtime.exit_status import sentence

if TYPE_CHECKING:
    import keras

    from tfnlp.config import Experiment
    from tfnlp.runs.subject import LoadedSubject


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise UserError with the command line's sentence; rows in memory are called the data."""
    try:
        yield
    except UserError as error:
        told = memory.named(str(error))
        if told == str(error):
            raise
        raise type(error)(told) from error
    except OSError as error:
        raise UserError(sentence(error)) from error


class Model:
    """The trained model of a run; `fit` and `load` return it.

    It may be asked from several threads. TensorFlow does not survive a fork: use processes that are
    spawned.

    Args:
        run: a run's folder.
        trust: import modules that are not tfnlp's and that the run was trained with.

    Attributes:
        run: the run's folder.

    Example::

        model = tfnlp.fit("reviews.csv")
        model.predict(["A masterpiece."])[0]["label"]
    """

    def __init__(self, run: str | Path, *, trust: bool = False) -> None:
        self.run = Path(run)
        if trust:
            consent.give(self.run)

    @cached_property
    def subject(self) -> LoadedSubject:
        """The model as explanations and audits see it."""
        with plain_errors():
            if not subjects.is_run(self.run):
                raise UserError(
                    f"{self.run} is not a run's folder, such as tensorboard_logs/NAME/RUN (a "
                    "SavedModel is opened by tfnlp.open)"
                )
            return subjects.load(str(self.run))

    @property
    def experiment(self) -> Experiment:
        """Every option that decided the run."""
        assert self.subject.experiment is not None  # a run has one
        return self.subject.experiment

    @property
    def network(self) -> keras.Model:
        """The functional Keras model: the backbone with the task's head."""
        assert self.subject.model is not None  # a run has one
        return self.subject.model.network

    @property
    def report(self) -> Report:
        """What the run found on its test rows, or its validation rows if it had none."""
        again = "evaluate the model, or train again"
        values = read_json(self.run / "metrics.json", {"validation": dict}, remedy=again)
        metrics = values.get("test") or values["validation"]
        intervals = {name: tuple(ends) for name, ends in (values.get("intervals") or {}).items()}
        return Report(metrics, [results(values)], intervals=intervals)

    def predict(
        self,
        data: Any,
        *,
        columns: Mapping[str, str] | None = None,
        batch_size: int = 32,
        **settings: Any,
    ) -> list[dict[str, Any]]:
        """Return an answer for each row, the same as the exported SavedModel gives.

        Args:
            data: a list of texts; rows or columns, as `pipelines.memory.rows` takes them (data
                frames among them); or a `pathlib.Path` of a file of rows.
            columns: by the model's input, the data's name for it, where it has another.
            batch_size: rows the model is asked at a time [rows].
            **settings: none; a model that writes takes its settings when it is exported.

        Raises:
            UserError: a row cannot be used, or settings are given.

        Example::

            model.predict(["Who wrote Hamlet?"])  # [{"label": "HUM", "score": 0.98, ...}]
            model.predict(frame, columns={"text": "review"})
        """
        if settings:
            raise UserError(
                f"predict() of a trained model takes no {next(iter(settings))!r} (settings and "
                "signatures are the SavedModel's: tfnlp.open(model.export()).predict(...))"
            )
        with plain_errors():
            return served.predict(self.subject.served, data, columns, batch_size)

    def evaluate(self, test: Any = None, **options: Any) -> Report:
        """Return the report on the model's answers to rows with known answers.

        Args:
            test: a file, or rows in memory; the rows that the run was tested on if neither this nor
                ``dataset`` is given.
            **options: those of ``python -m tfnlp.evaluate``: ``dataset``, ``split``, ``columns``,
                ``label_separator``, ``on_bad_row``, ``batch_size`` and so on; with ``output`` the
                report is written to that folder too.

        Raises:
            UserError: the rows cannot be used, or an option is none.

        Example::

            model.evaluate("test.csv").metrics["accuracy"]
        """
        with plain_errors():
            found = evaluating.kept(str(self.run))
            given = {"test": self._file(test, found.columns), **options}
            made = make(evaluating.Options, keywords.plain(given), "evaluate()")
            done = evaluating.evaluate(found, made, self.subject)
            if made.output:
                evaluating.write(done, Path(made.output))
            return done.report

    def explain(
        self,
        data: Any,
        *,
        by: str | Mapping[str, Any] = explaining.DEFAULT,
        columns: Mapping[str, str] | None = None,
        unit: Literal["words", "sentences", "tokens", "characters"] = "words",
        target_label: str | None = None,
        rather_than: str | None = None,
    ) -> Explained:
        """Return what each part of the texts did for the model's answers.

        Args:
            data: rows, as `predict` takes them.
            by: the method, or a dict of its ``name`` and options.
            columns: as of `predict`.
            unit: what the parts are.
            target_label: the answer that is explained, if it is not the model's own.
            rather_than: another answer: why the first rather than this one.

        Returns:
            A list that a notebook shows in colour; for each answer a dict as ``python -m
            tfnlp.explain`` writes it: ``row``, the inputs, ``label``, ``score``, ``pieces``,
            ``flags``, ``examples`` and ``changed``.

        Raises:
            UserError: a row cannot be used, or the method does not suit the model.

        Example::

            model.explain(["A masterpiece."], by="occlusion")[0]["pieces"]
        """
        with plain_errors():
            method, options = keywords.plugged(Explanation, by, "explain(): by")
            records = served.records_of(data, self.subject.served, columns)
            wanted = Wanted(unit, target_label, rather_than)
            found = method.record.explain(self.subject, records, options, wanted)
            return Explained(explaining.values(one) for one in found)

    def errors(self, test: Any = None, *, by: str = "integrated_gradients") -> Errors:
        """Return the errors on rows with known answers: why, what is near, and which are alike.

        Args:
            test: a file, or rows in memory; the rows that the run was tested on if not given.
            by: the method that says why.

        Returns:
            What a notebook shows; ``groups``, ``explained``, and ``write`` for a page.

        Raises:
            UserError: the rows cannot be used, or have not one label each.

        Example::

            model.errors("test.csv").groups
        """
        with plain_errors():
            found = evaluating.kept(str(self.run))
            options = evaluating.Options(test=self._file(test, found.columns))
            rows = evaluating.read_rows(found, evaluating.with_data(options, found))
            return errors.find(self.subject, rows, by)

    def audit(
        self,
        test: Any,
        *,
        check: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None,
        bounds: Mapping[str, float] | None = None,
        **options: Any,
    ) -> Audited:
        """Return what is wrong with the model, as far as rows with known answers show it.

        Args:
            test: a file, or rows in memory.
            check: one check or several, each a name or a dict of its ``name`` and options; all
                that suit the model if not given.
            bounds: what a figure must not cross, by its name.
            **options: those of ``python -m tfnlp.audit``: ``columns``, ``on_bad_row`` and so on;
                with ``output`` the report is written to that folder too.

        Raises:
            UserError: the rows cannot be used, there is no such check, or a bound is none.

        Example::

            model.audit("test.csv", check="calibration", bounds={"ece": 0.05}).passed
        """
        with plain_errors():
            if test is None:
                raise UserError("audit() has nothing to check the model on (give test=ROWS)")
            names = [check] if isinstance(check, (str, Mapping)) else check
            chosen = extensions.names(Audit) if names is None else names
            checks = [keywords.plugged(Audit, one, "audit(): check") for one in chosen]
            columns = self.subject.inputs + self._targets()
            told = {name: str(value) for name, value in (bounds or {}).items()}
            given = {**options, "test": self._file(test, columns), "bounds": told}
            made = make(auditing.Options, keywords.plain(given), "audit()")
            done = auditing.audit(self.subject, checks, made, named=names is not None)
            if made.output:
                done.write(Path(made.output))
            return done

    def export(self, **options: Any) -> Path:
        """Write the model's SavedModel as a new version, and return its folder.

        Args:
            **options: those of ``python -m tfnlp.export``: ``name``, ``saved_models``.

        Raises:
            UserError: the place cannot be written, or an option is none.

        Example::

            tfnlp.open(model.export()).predict(["A masterpiece."])
        """
        with plain_errors():
            return exporting.export([str(self.run)], keywords.plain(options), "export()")

    def _targets(self) -> tuple[Column, ...]:
        """The columns that hold the right answers."""
        experiment = self.experiment
        return task.load(experiment.task).target_columns(experiment.options)

    @staticmethod
    def _file(data: Any, columns: Sequence[Column]) -> str | None:
        """Return the file of rows, which those in memory are written to."""
        if data is None:
            return None
        return str(data if isinstance(data, (str, Path)) else memory.keep(data, columns))

    def __repr__(self) -> str:
        return f"tfnlp.load({str(self.run)!r})"

    def _repr_html_(self) -> str:
        """Show the run's results in a notebook."""
        return self.report._repr_html_()
