"""A trained model -> a SavedModel that takes strings, with its warm-up requests and model card.

python -m tfnlp.export tensorboard_logs/NAME/RUN
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.files.writers import read_json
from tfnlp.exporting.writer import export
from tfnlp.options import Parser
from tfnlp.runtime import exit_status

if TYPE_CHECKING:
    pass


def main(argv: list[str]) -> int:
    """Export a run again."""
    parser = Parser(
        prog="python -m tfnlp.export",
        description="Write the SavedModel of a finished run, as a new version.",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder: tensorboard_logs/NAME/RUN")
    parser.add_argument(
        "--saved-models", metavar="FOLDER", help="where it goes (default: as in the run)"
    )
    given = parser.parse(argv)
    from tfnlp.runtime.startup import quiet_start

    with quiet_start("keras_hub"):
        import dataclasses

        from tfnlp.exporting import card
        from tfnlp.runs import storage
    model = storage.load(Path(given.run))
    if given.saved_models:
        place = dataclasses.replace(model.experiment.export, saved_models=given.saved_models)
        model = dataclasses.replace(
            model, experiment=dataclasses.replace(model.experiment, export=place)
        )
    metrics = read_json(Path(given.run) / "metrics.json") or {}
    print(export(model, metrics, card.write(model, metrics, [])))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
