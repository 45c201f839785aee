"""How long a fit goes on where the user does not say.

On few rows a few epochs are too few updates: 200 rows in batches of 32 give 28 in four epochs, of
which the first tenth is warm-up. So there is a floor in updates, and early stopping waits for some
updates too, not only for epochs. docs/results.md has what 400 updates do on nine data sets.
"""

from __future__ import annotations

from tfnlp.config import Experiment

EPOCHS, UPDATES = 4, 400  # at least
PATIENCE, PATIENCE_UPDATES = 2, 100  # at least


def epochs(experiment: Experiment, steps: int) -> int:
    """Return how many passes over the training rows there are at most.

    Args:
        experiment: says it, or leaves it to the number of updates.
        steps: batches in an epoch.

    Example::

        epochs(experiment, 7)  # 58, which are 406 updates
    """
    return experiment.training.epochs or _floor(experiment, steps, EPOCHS, UPDATES)


def patience(experiment: Experiment, steps: int) -> int:
    """Return after how many epochs without a better score training stops.

    Args:
        experiment: says it, or leaves it to the number of updates.
        steps: batches in an epoch.

    Example::

        patience(experiment, 7)  # 15
    """
    return experiment.training.patience or _floor(experiment, steps, PATIENCE, PATIENCE_UPDATES)


def _floor(experiment: Experiment, steps: int, least: int, updates: int) -> int:
    """Return the epochs that make so many updates, and at least so many.

    An epoch ends with an update, also where fewer batches are left than it waits for.
    """
    an_epoch = -(-steps // experiment.optimizer.accumulate)
    return max(least, -(-updates // an_epoch))
