"""python -m tfnlp.export: write the SavedModel of a run again, or join several runs into one."""

from __future__ import annotations

import sys

from tfnlp.api import exporting
from tfnlp.api.exporting import Options
from tfnlp.extensions import consent
from tfnlp.options import Parser, add_flags, values_of
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Export what the arguments name."""
    parser = Parser(
        prog="python -m tfnlp.export",
        description="Write the SavedModel of a finished run, as a new version; or join runs into "
        "one SavedModel.",
        epilog="""examples:
  python -m tfnlp.export tensorboard_logs/NAME/RUN
  python -m tfnlp.export TOPICS_RUN MOODS_RUN --join --name all
  python -m tfnlp.export saved_models/all SPAM_RUN --join --without MOODS
  python -m tfnlp.export ENTITIES_RUN RELATIONS_RUN --join --layout triples --name facts""",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run's folder: tensorboard_logs/NAME/RUN; with --join also a SavedModel of joined "
        "runs, or NAME=RUN",
    )
    consent.add_flag(parser)
    add_flags(parser, "options", Options, "the SavedModel")
    flags = vars(parser.parse(argv))
    print(exporting.export(flags["runs"], values_of(flags, "options"), "the command line"))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
