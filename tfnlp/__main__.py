"""python -m tfnlp: list the commands."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tfnlp import __version__
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Print each command with one line."""
    parser = Parser(
        prog="python -m tfnlp",
        description="Fine-tune pretrained language models on your own text and serve them.",
    )
    parser.add_argument("--version", action="version", version=f"tfnlp {__version__}")
    parser.parse(argv)
    found = summaries(Path(__file__).parent)
    width = max(map(len, found))
    print(f"tfnlp {__version__}. Commands, each with --help:\n")
    for command, summary in found.items():
        print(f"  {command:<{width}}  {summary}")
    return 0


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
