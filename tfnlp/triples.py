"""python -m tfnlp.triples: now python -m tfnlp.export --join --layout triples."""

from __future__ import annotations

import shlex
import sys

from tfnlp import export
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Print the command to use now, and run it."""
    arguments = [*argv, "--join", "--layout", "triples"]
    print(
        "warning: python -m tfnlp.triples will go; type: python -m tfnlp.export "
        f"{shlex.join(arguments)}",
        file=sys.stderr,
    )
    return export.main(arguments)


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
