"""python -m tfnlp.triples: an entity model and a relation model -> one SavedModel, text -> triples.

Dimensions: B batch, M entities of a text, P pairs of entities in the batch, C relations.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from tfnlp.exporting.triples import join
from tfnlp.options import Parser
from tfnlp.runtime import exit_status

if TYPE_CHECKING:
    pass


def main(argv: list[str]) -> int:
    """Join the models that the arguments name."""
    parser = Parser(
        prog="python -m tfnlp.triples",
        description="Join a trained ner model and a trained relation_extraction model into one "
        "SavedModel: raw text in,\ntriples (head, relation, tail) with offsets and scores out.",
    )
    for name, task in (("entities", "ner"), ("relations", "relation_extraction")):
        parser.add_argument(
            name,
            metavar=f"{name.upper()}_RUN",
            help=f"a run of --task {task}: tensorboard_logs/NAME/RUN",
        )
    parser.add_argument("--name", default="triples", help="the SavedModel's name (%(default)s)")
    parser.add_argument(
        "--saved-models",
        metavar="FOLDER",
        default="saved_models",
        help="where it goes (%(default)s)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="least probability of a relation that is told, 0 to 1 (%(default)s)",
    )
    given = parser.parse(argv)
    if not 0 <= given.min_score <= 1:
        raise UserError(f"--min-score {given.min_score} is not between 0 and 1")
    from tfnlp.runtime.startup import quiet_start

    with quiet_start("keras_hub"):
        from tfnlp.runs import storage
    models = {}
    for name, task in (("entities", "ner"), ("relations", "relation_extraction")):
        run = Path(getattr(given, name))
        models[name] = storage.load(run)
        found = models[name].experiment.task
        if found != task:
            raise UserError(f"{run} is a run of --task {found}, not of {task}")
    place = Path(given.saved_models) / given.name
    print(join(models["entities"], models["relations"], place, given.min_score))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
