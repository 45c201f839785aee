"""Where explained answers go: a terminal, JSON lines, a page, tables of words, TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from rich.console import Console
from rich.text import Text

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import csv_writer, jsonl_writer
from tfnlp.evaluation import explained_pages
from tfnlp.evaluation.explained_words import Words
from tfnlp.inference import outputs
from tfnlp.report import markdown

Write: TypeAlias = Callable[[Mapping[str, Any]], None]

SHOWN = 100  # answers in TensorBoard
_MOST = 500  # words of each label on a page


@contextmanager
def opened(
    output: str | None, words: str | None, board: Path | None, about: Mapping[str, Any]
) -> Iterator[Write]:
    """Open all places that explained answers go to, and yield what writes one to them.

    Args:
        output: the file; None or - is standard output.
        words: the file of words, or None.
        board: the folder of a run whose TensorBoard shows them too, or None.
        about: what a page says of the model and the method.

    Raises:
        UserError: a file cannot be written, or its suffix says no format.

    Example::

        with opened("why.html", None, None, {"model": "trec"}) as write:
            write(explaining.values(found))
    """
    if words and Path(words).suffix.lower() not in (".html", ".csv"):
        raise UserError(f"--words {words}: write a page (.html) or a table (.csv)")
    kept: Words | None = Words() if words or board else None
    with ExitStack() as stack:
        writes = [_main(stack, output, about)]
        if board:
            writes.append(stack.enter_context(_board(board, kept)))
        if words:
            file = stack.enter_context(replacing(Path(words)))
        if kept:
            writes.append(kept.add)

        def write(values: Mapping[str, Any]) -> None:
            for one in writes:
                one(values)

        yield write
        if words and kept:
            _write_words(file, words, kept, about)


def _main(stack: ExitStack, path: str | None, about: Mapping[str, Any]) -> Write:
    """Return what writes an answer in colour on a terminal, on a page, or as a line of JSON."""
    output = stack.enter_context(outputs.opened(path))
    if path is None and sys.stdout.isatty():
        console = Console(file=output, highlight=False)
        return lambda values: console.print(*_coloured(values), sep="\n", soft_wrap=True)
    if path and Path(path).suffix.lower() in (".html", ".htm"):
        write = explained_pages.writer(output, "Why", about)
        stack.callback(explained_pages.end, write)
        return lambda values: write(explained_pages.answer(values))
    lines = jsonl_writer(output)

    def line(values: Mapping[str, Any]) -> None:
        lines([values])
        output.flush()

    return line


def _write_words(file: TextIO, path: str, words: Words, about: Mapping[str, Any]) -> None:
    """Write the words of each label."""
    table = words.table(most=_MOST if path.endswith(".html") else None)
    if path.endswith(".csv"):
        csv_writer(file)([dict(zip(table.header, row, strict=True)) for row in table.rows])
        return
    write = explained_pages.writer(file, "Words", {**about, "rows": words.rows})
    write(
        "<p>The mean weight of each word over the rows that it stands in, with its 95% interval; "
        "first those whose interval is farthest from 0.</p>"
    )
    write(explained_pages.filtered(table))
    explained_pages.end(write)


@contextmanager
def _board(run: Path, words: Words | None) -> Iterator[Write]:
    """Yield what keeps the first answers, and write them as text into a run's TensorBoard."""
    kept: list[str] = []

    def keep(values: Mapping[str, Any]) -> None:
        if len(kept) < SHOWN:
            kept.append(_markdown(values))

    yield keep
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(run / "explanations"))
    with writer.as_default(0):
        tf.summary.text("explanations/answers", "\n\n".join(kept))
        if words:
            tf.summary.text("explanations/words", markdown(words.table(most=20)))
    writer.close()


def _markdown(values: Mapping[str, Any]) -> str:
    """Return an answer with the weights of its heaviest pieces."""
    heavy = sorted(values["pieces"], key=lambda piece: -abs(piece["weight"]))[:8]
    told = ", ".join(f"{' '.join(p['text'].split())} {p['weight']:+.3f}" for p in heavy)
    texts = " / ".join(" ".join(str(values[n]).split()) for n in explained_pages.inputs(values))
    label = f"**{values['label']}** {values['score']:z.3f}"
    return f"{values['row']}. {label}: {texts[:300]}  \n{told}"


def _coloured(values: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the lines that a person sees: the answer, and each input with its pieces coloured.

    Green pieces speak for the answer, red ones against it, the deeper the more.
    """
    label = outputs.printable(values["label"])
    yield Text(f"{values['row']}  {label}  {values['score']:z.3f}", style="bold")
    top = max((abs(piece["weight"]) for piece in values["pieces"]), default=0.0)
    names = explained_pages.inputs(values)
    for name in names:
        line = Text(outputs.printable(values[name]))
        for piece in values["pieces"]:
            share = abs(piece["weight"]) / top if top else 0.0
            if piece["input"] == name and share >= 0.05:
                line.stylize(_style(piece["weight"], share), piece["start"], piece["end"])
        yield Text(f"{name}: ", style="dim") + line if len(names) > 1 else line
    if values["changed"]:
        told = ", ".join(f"{name}: {value}" for name, value in values["changed"].items())
        yield Text(outputs.printable(f"changed: {told}"))
    for example in values["examples"]:
        told = ", ".join(f"{name}: {_short(value)}" for name, value in example.items())
        yield Text(outputs.printable(f"  {told}"), style="dim")
    for flag in values["flags"]:
        yield Text(f"({flag})", style="dim")
    yield Text("")


def _short(value: Any) -> str:
    return f"{value:z.3f}" if isinstance(value, float) else str(value)[:200]


def _style(weight: float, share: float) -> str:
    """Return the colours of a piece, by its share of the heaviest weight."""
    pale = int(225 * (1 - share))
    red, green = (pale, 225) if weight > 0 else (225, pale)
    return f"#000000 on #{red:02x}{green:02x}{pale:02x}"
