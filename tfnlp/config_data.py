"""Which rows a run reads, and how their files are laid out: a section of its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines import discover
from pipelines.errors import UserError
from pipelines.files.layout import Layout
from tfnlp.needs import Need
from tfnlp.options import option

_DATASETS = [name.replace("_", "-") for name in discover.names("pipelines.datasets")]


# What options need that are about lists of labels, and what is said where rows are in no file.
OF_LABELS = Need(
    lambda known: any(column.kind == "labels" for column in known.columns),
    "has no effect on rows of this task, which have no lists of labels",
)
_PLAIN = "supervised"
KEPT_OF_FILES = "keeps rows of files aside, none of a data set"


@dataclass(frozen=True)
class FileLayout:
    """How files are laid out that do not say so themselves: options of all commands that read them.

    Example:
        >>> FileLayout(delimiter=";").layout().character
        ';'
    """

    delimiter: str | None = option(
        None,
        "what separates the fields of CSV and TSV: a character, or tab (default: as the rows say)",
        metavar="CHARACTER",
        minimum=1,
    )
    quoting: Literal["none", "minimal"] | None = option(
        None,
        "quotes in CSV and TSV are characters like any other, or enclose fields, over line ends "
        "too (default: they enclose fields, unless the lines inside are rows)",
    )
    encoding: str | None = option(
        None,
        "what files are written in, such as windows-1252 (default: UTF-8)",
        metavar="NAME",
        minimum=1,
    )

    def layout(self, otherwise: FileLayout | None = None) -> Layout:
        """Return it as files are read by it, with another's values where it has none.

        Raises:
            UserError: a value is none that a layout can have.
        """
        other = otherwise or FileLayout()
        return Layout(
            self.delimiter or other.delimiter,
            self.quoting or other.quoting,
            self.encoding or other.encoding,
        )


@dataclass(frozen=True)
class Data(FileLayout):
    """Where the rows come from.

    Example:
        >>> Data(train="rows.csv", columns={"text": "review"}).on_bad_row
        'error'
    """

    dataset: str | None = option(
        None,
        f"a built-in data set ({', '.join(_DATASETS)}) or tfds:NAME; without --dataset and "
        "--train the task's own example is used",
    )
    train: str | None = option(
        None,
        "training file: .csv, .tsv or .jsonl; .conll, .bio, .iob or .iob2 (word and tag columns), "
        ".conllu, .json (SQuAD) or .txt (a text a line); each also with .gz",
    )
    validation: str | None = option(None, "validation file; without one a part of train is used")
    test: str | None = option(None, "test file, read once, after training")
    columns: dict[str, str] = option(
        {},
        "header of a column, such as text=review; --text-column review says the same",
        flag="--column",
    )
    label_separator: str = option(
        "|",
        "what separates the labels of one row in a file, or tab",
        minimum=1,
        needs=OF_LABELS,
    )
    on_bad_row: Literal["error", "skip", "quarantine"] = option(
        "error",
        "a row that cannot be used stops the run, is left out, or is kept aside in a file",
        needs=Need(
            lambda known: known.experiment.data.on_bad_row == "skip" or known.experiment.data.train,
            KEPT_OF_FILES,
            "say --on-bad-row skip",
        ),
    )
    validation_share: float | None = option(
        None,
        "share of train used for validation where there is none; if not given a twentieth, or "
        "200 rows if that is more, but at most a fifth; 0 trains on every row, for all epochs",
        minimum=0.0,
        maximum=0.9,
        needs=Need(
            lambda known: known.divides,
            "has no effect, for there are rows for validation besides those of train",
        ),
    )
    fold: str | None = option(
        None,
        "validate on the I-th of K parts of train and train on the others, for cross-validation: "
        "the same parts, and rows of --limit, for every --seed",
        metavar="I/K",
        needs=Need(
            lambda known: known.divides,
            "has no effect, for there are rows for validation besides those of train",
        ),
    )
    test_share: float = option(
        0.0,
        "share of train set aside for testing where there are no test rows, before --limit: the "
        "same rows for every --seed; 0 is none",
        minimum=0.0,
        maximum=0.9,
        needs=Need(
            lambda known: known.sets_aside,
            "has no effect, for there are test rows besides those of train",
        ),
    )
    augment_times: int = option(
        1,
        "texts that --augment makes of each training row, others each epoch",
        minimum=1,
        maximum=100,
        needs=Need(
            lambda known: known.experiment.augment,
            "has no effect without --augment",
            "name an augmenter",
        ),
    )
    augment_compare: bool = option(
        False,
        "also train without --augment, for as many steps, and show what it gained (as long again)",
        needs=Need(
            lambda known: known.experiment.augment and known.experiment.strategy.name == _PLAIN,
            "compares a run of --augment with one without, by --strategy supervised",
            "name an augmenter and no other strategy",
        ),
    )
    rows_per_label: int | None = option(
        None,
        "train on this many rows of each label, or all that it has, chosen by the seed [rows]",
        minimum=1,
        needs=Need(
            lambda known: any(column.kind in ("label", "labels") for column in known.targets),
            "has no effect on rows of this task, which have no labels",
        ),
    )
    unlabelled: str | None = option(
        None,
        "a file of further texts without labels, with the columns of the training file; labels "
        "that it has are looked at for the report alone",
        metavar="FILE",
        needs=Need(
            lambda known: "unlabelled" in known.reads,
            "has no effect on --strategy {known.experiment.strategy.name}",
            "say --strategy self_training, uda or prompt",
        ),
    )
    labels: str | None = option(
        None,
        "the labels to choose from: .txt with a label a line, or .csv, .tsv or .jsonl with the "
        "columns label and, if wanted, description",
        metavar="FILE",
        needs=Need(
            lambda known: "labels" in known.reads,
            "has no effect on --strategy {known.experiment.strategy.name}, which learns the labels "
            "of the training rows",
            "say --strategy zero_shot",
        ),
    )
    limit: int | None = option(
        None, "train on this many rows, chosen by the seed [rows]", minimum=1
    )
    limit_held_out: int | None = option(
        None, "validate and test on this many rows of each, evenly spaced [rows]", minimum=2
    )

    def part(self) -> tuple[int, int] | None:
        """Return which of how many folds is for validation; None without ``fold``.

        Raises:
            UserError: ``fold`` names none, or a share for validation is given too.

        Example:
            >>> Data(fold="1/5").part()
            (1, 5)
        """
        if self.fold is None:
            return None
        number, _, folds = self.fold.partition("/")
        if not (number.isdecimal() and folds.isdecimal() and 1 <= int(number) <= int(folds) > 1):
            raise UserError(f"--fold {self.fold}: it must be I/K, such as 1/5 for the first of 5")
        if self.validation_share is not None:
            raise UserError(
                "--fold says which rows are for validation, and so does --validation-share (leave "
                "one out)"
            )
        return int(number), int(folds)
