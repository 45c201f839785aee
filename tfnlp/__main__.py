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
    """
    package = folder.name
    files = {f"{package}.{path.stem}": path for path in folder.glob("[!_]*.py")}
    files |= {f"{package}.{path.parent.name}": path for path in folder.glob("*/__main__.py")}
    found = {}
    for name, path in sorted(files.items()):
        module = ast.parse(path.read_text("utf-8"))
        if any(_runs(statement) for statement in module.body):
            command = f"python -m {name}"
            line = (ast.get_docstring(module) or "").partition("\n")[0].replace("`", "")
            found[command] = line.removeprefix(f"{command}:").strip()
    return found


def _runs(statement: ast.stmt) -> bool:
    """Tell whether a statement is ``if __name__ == "__main__":``."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
