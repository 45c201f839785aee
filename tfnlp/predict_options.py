"""The options of python -m tfnlp.predict; knows what may be said, and nothing of answering."""

from __future__ import annotations

import argparse

from pipelines.files.formats import FORMATS
from tfnlp.inference.saved_model import SAVED_MODELS


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m tfnlp.predict",
        description="Ask a SavedModel about texts: given here, in a file, or on standard input.",
        epilog="""examples:
  python -m tfnlp.predict trec "Who wrote Hamlet?"
  python -m tfnlp.predict saved_models/pairs/1 "first text" "second text"
  python -m tfnlp.predict trec --input questions.csv --column text=question --output answers.csv
  cat questions.txt | python -m tfnlp.predict trec > answers.jsonl
  python -m tfnlp.predict story "Once upon a time" --set temperature=0.7 --set top_p=0.9
  python -m tfnlp.predict german --input english.txt --set beams=8 --set length_penalty=0.8
  python -m tfnlp.predict trec --runner DirectRunner --input 'texts-*.jsonl' --output answers

The answer to a row is the row's own columns and the model's outputs. An output whose name the
file has as a column is written as predicted_<name>.

A model that writes takes settings (--set). Which, and with what values otherwise, stands in its
settings.json; what chooses tokens follows from them: temperature and top_p sample, beams asks for
a beam search, alpha for a contrastive one. On a terminal the answer to a single text is shown as
it is written, unless it is searched for as a whole, as by beams; --stream asks for it anywhere.

With --runner, Apache Beam shares the rows out among machines: --input may be a pattern and all
places addresses such as gs://bucket/texts-*.jsonl; answers are JSONL in PREFIX-00000-of-00008.jsonl
and so on, in any order, each with its input_file and input_row; rows that cannot be used go to
PREFIX.bad.jsonl.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="SavedModel folder, folder of versions (the highest is taken), a name in "
        f"{SAVED_MODELS}/, or a server's: http://HOST:8501/v1/models/NAME, grpc://HOST:8500/NAME",
    )
    add(
        "texts",
        metavar="text",
        nargs="*",
        help="texts to answer; if the model reads several inputs, each row takes that many texts, "
        "in alphabetical order of the inputs' names (text_a, text_b); put -- before a text that "
        "begins with -",
    )
    add(
        "--input",
        metavar="FILE",
        help="file with a row per answer: .csv, .tsv, .jsonl, .txt, .conll, .conllu, .json "
        "(SQuAD), also with .gz; - is standard input, the default if no text is given",
    )
    add(
        "--input-format",
        choices=FORMATS,
        help="format of the input; text is one text a line (default: by the file's suffix; "
        "standard input: text)",
    )
    add(
        "--column",
        metavar="INPUT=HEADER",
        type=_pair,
        action="append",
        default=[],
        help="the file's column for one of the model's inputs, such as text=review; may be "
        "repeated (default: the column that is named like the input)",
    )
    add(
        "--on-bad-row",
        choices=("error", "skip", "quarantine"),
        help="a row that cannot be used stops the run, is left out, or is left out and written to "
        "<input>.bad.jsonl (default: error; with --runner, which it never stops: quarantine)",
    )
    add(
        "--output",
        metavar="FILE",
        help="file for the answers, put in place when complete; - is standard output, the default",
    )
    add(
        "--format",
        choices=("jsonl", "csv", "tsv", "table"),
        help="format of the answers (default: by --output's suffix; table on a terminal; else "
        "jsonl)",
    )
    add(
        "--signature",
        metavar="NAME",
        help="which of the model's signatures is asked, such as embed (default: serving_default, "
        "or the one that has all that --set names)",
    )
    add(
        "--set",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="how a model that writes does so, such as temperature=0.7; may be repeated",
    )
    add(
        "--stream",
        action="store_true",
        help="show each answer as it is written, without a table or JSON (default: for a single "
        "text on a terminal)",
    )
    add(
        "--batch-size",
        metavar="ROWS",
        type=_positive,
        default=32,
        help="texts the model is asked at a time [rows] (default: %(default)s)",
    )
    add(
        "--precision",
        choices=("auto", "float32"),
        default="auto",
        help="float32, or auto: with products in bfloat16 where the processor has them (default: "
        "%(default)s)",
    )
    add(
        "--requests",
        metavar="N",
        type=_positive,
        default=4,
        help="requests that a server is sent at a time (default: %(default)s)",
    )
    add(
        "--runner",
        metavar="RUNNER",
        help="have Apache Beam answer files: DirectRunner (this machine), FlinkRunner, "
        "DataflowRunner, ...; needs tfnlp[beam]",
    )
    add(
        "--runner-option",
        metavar="KEY=VALUE",
        type=_runner_option,
        action="append",
        default=[],
        help="an option of the runner or of Beam, such as flink_master=host:8081; may be repeated",
    )
    add(
        "--shards",
        metavar="N",
        type=_positive,
        help="files the answers are divided among with --runner (default: the runner's choice)",
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, sign, header = text.partition("=")
    if not (name and sign and header):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form INPUT=HEADER")
    return name, header


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _runner_option(text: str) -> str:
    if not text.partition("=")[0].isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return f"--{text}"


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value
