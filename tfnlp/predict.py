"""python -m tfnlp.predict: ask a SavedModel about texts; knows nothing of how it was trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tfnlp.inference import answer_rows
from tfnlp.inference.answer_rows import Options
from tfnlp.inference.saved_model import SAVED_MODELS
from tfnlp.options import Parser, add_flags, make, values_of
from tfnlp.runtime import exit_status

EPILOG = """examples:
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
PREFIX.bad.jsonl."""


def parser() -> Parser:
    """Return what reads the command line."""
    parser = Parser(
        prog="python -m tfnlp.predict",
        description="Ask a SavedModel about texts: given here, in a file, or on standard input.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="SavedModel folder, folder of versions (the highest is taken), a name in "
        f"{SAVED_MODELS}/, or a server's: http://HOST:8501/v1/models/NAME, grpc://HOST:8500/NAME",
    )
    parser.add_argument(
        "texts",
        metavar="text",
        nargs="*",
        default=[],
        help="texts to answer; if the model reads several inputs, each row takes that many texts, "
        "in alphabetical order of the inputs' names (text_a, text_b); put -- before a text that "
        "begins with -",
    )
    add_flags(parser, "options", Options, "rows, answers, and how the model is asked")
    return parser


def main(argv: Sequence[str]) -> int:
    """Answer what the arguments ask."""
    flags = vars(parser().parse(list(argv)))
    options = make(Options, values_of(flags, "options"), "the command line")
    try:
        answer_rows.run(flags["model"], flags["texts"], options)
    except BrokenPipeError:  # the reader has enough, as in `... | head`
        exit_status.discard_output()
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
