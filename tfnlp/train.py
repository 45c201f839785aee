"""python -m tfnlp.train: fine-tune a pretrained backbone on a data set and export the result."""

from __future__ import annotations

import sys

from tfnlp.cli import arguments
from tfnlp.options import Parser
from tfnlp.runtime import exit_status, signals


def main(argv: list[str]) -> int:
    """Train as the arguments say; 1 if ``--forget-at-most`` keeps the model from being exported."""
    parser = Parser(
        prog="python -m tfnlp.train",
        description="Fine-tune a pretrained backbone, evaluate it, and export a SavedModel.\n"
        "Without arguments: --task classification --dataset trec --backbone minilm-l6-en.",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the last run of this name from its newest checkpoint",
    )
    experiment, own = arguments.parse(argv, parser)
    from tfnlp.runtime.startup import quiet_start

    with signals.caught("; run the same command with --resume to continue"):
        print("starting TensorFlow", file=sys.stderr)
        with quiet_start("keras_hub"):
            import tensorflow as tf

            from tfnlp.api import training

            tf.config.list_physical_devices()
        run = training.train(experiment, resume=own["resume"])
        return int(run is not None and training.is_refused(run))


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
