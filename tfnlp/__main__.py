"""python -m tfnlp: list the commands; with the name of one, such as train, run it."""

from __future__ import annotations

import ast
import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tfnlp import __version__, completion
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Print each command with one line, or run the one that is named."""
    parser = Parser(
        prog="python -m tfnlp",
        description="Fine-tune pretrained language models on your own text and serve them.",
    )
    parser.add_argument("--version", action="version", version=f"tfnlp {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=completion.SHELLS,
        help="print what makes TAB complete these commands in this shell",
    )
    found = summaries(Path(__file__).parent)
    names = [command.removeprefix("python -m tfnlp.") for command in found]
    width = max(map(len, found))
    listed = "\n".join(f"  {command:<{width}}  {summary}" for command, summary in found.items())
    parser.epilog = f"commands, each with --help:\n{listed}".replace("%", "%%")
    if completion.asked():
        argv, names = completion.typed(names)
    if argv and not argv[0].startswith("-"):
        _run(argv, names, parser)
    parser.add_argument(
        "command", nargs="?", metavar="COMMAND", choices=names, help="what to run, such as train"
    )
    shell = parser.parse(argv).print_completion
    if shell:
        print(completion.script(shell))
        return 0
    print(f"tfnlp {__version__}. Commands, each with --help:\n\n{listed}")
    return 0


def _run(argv: list[str], names: Sequence[str], parser: Parser) -> NoReturn:
    """Run a command as `python -m tfnlp.NAME` does."""
    name, *rest = argv
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"there is no command {name!r}{hint} (see python -m tfnlp)")
    sys.argv = [sys.argv[0], *rest]
    runpy.run_module(f"tfnlp.{name}", run_name="__main__", alter_sys=True)
    raise SystemExit(0)


def summaries(folder: Path) -> dict[str, str]:
    """Return what each module that is a command says of itself; imports none of them.

    A command is a module, or a package's ``__main__``, that runs something when it is executed.

    Example:
        >>> "python -m tfnlp.train" in summaries(Path(__file__).parent)
        True
    """
    found = {}
    for path in folder.rglob("*.py"):
        parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
        if len(parts) > 2 and parts[-1] == "__main__":
            parts.pop()
        text = path.read_text("utf-8")
        # Looking for the word first saves parsing all files.
        if any(part.startswith("_") for part in parts) or "__main__" not in text:
            continue
        module = ast.parse(text)
        if any(_runs(statement) for statement in module.body):
            command = f"python -m {'.'.join(parts)}"
            line = (ast.get_docstring(module) or "").partition("\n")[0].replace("`", "")
            found[command] = line.removeprefix(f"{command}:").strip()
    return dict(sorted(found.items()))


def _runs(statement: ast.stmt) -> bool:
    """Return whether a statement is ``if __name__ == "__main__":``."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
