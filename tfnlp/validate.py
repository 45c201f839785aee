"""python -m tfnlp.validate: check data files for training, without training."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import json_text
from tfnlp.cli import arguments
from tfnlp.data_checks import findings
from tfnlp.data_checks.rows import check
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Check the data that the arguments name; 1 if training would stop at them."""
    parser = Parser(
        prog="python -m tfnlp.validate",
        description="Check data without training: rows, labels, lengths in tokens, duplicates, "
        "leakage, and rows that\ncannot be used. Takes what train takes. Exit status: 0 if "
        "training can begin, 1 if the data would\nstop it, 2 if the command line is wrong.",
    )
    parser.add_argument(
        "--show",
        type=int,
        default=20,
        metavar="ROWS",
        help="rows named for each finding (default: 20)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything, with all row numbers, as JSON too"
    )
    experiment, own = arguments.parse(argv, parser)
    from tfnlp.runtime.startup import quiet_start

    print("starting TensorFlow", file=sys.stderr)
    with quiet_start("keras_hub"):
        import tensorflow as tf

        from tfnlp.training import trainer  # noqa: F401

        tf.config.list_physical_devices()
    found = check(experiment)
    findings.show(found, max(own["show"], 0))
    if own["json"]:
        try:
            with replacing(Path(own["json"])) as file:
                file.write(f"{json_text(findings.values(found))}\n")
        except OSError as error:
            raise UserError(f"cannot write {own['json']}: {error.strerror}") from error
    return 1 if found.errors else 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
