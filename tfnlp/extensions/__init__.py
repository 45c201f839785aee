"""What can be plugged in: records with a summary, options and one verb, one file an entry.

A folder is a registry: ``tfnlp/strategies/gan.py`` defines ``STRATEGY``, and an outsider's module
is named by its dotted path. Names that begin with ``_`` are shared parts, not entries. Entries keep
TensorFlow and Keras inside their functions, because ``--help`` imports them for their options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pipelines import discover
from pipelines.augmentation import Edit as Edit
from pipelines.augmentation import Span as Span
from tfnlp.extensions.analysis import Attribution as Attribution
from tfnlp.extensions.analysis import Audit as Audit
from tfnlp.extensions.analysis import Explanation as Explanation
from tfnlp.extensions.analysis import Finding as Finding
from tfnlp.extensions.analysis import Piece as Piece
from tfnlp.extensions.analysis import Subject as Subject
from tfnlp.extensions.analysis import UnsuitableError as UnsuitableError
from tfnlp.extensions.analysis import Wanted as Wanted
from tfnlp.extensions.augmenting import Augmenter as Augmenter
from tfnlp.extensions.augmenting import Material as Material
from tfnlp.extensions.peft import Adaptable as Adaptable
from tfnlp.extensions.peft import Peft as Peft
from tfnlp.extensions.peft import PeftStep as PeftStep
from tfnlp.extensions.studies import Settings as Settings
from tfnlp.extensions.studies import Study as Study
from tfnlp.extensions.studies import Trial as Trial
from tfnlp.extensions.tracking import Status as Status
from tfnlp.extensions.tracking import Tracked as Tracked
from tfnlp.extensions.tracking import Tracker as Tracker
from tfnlp.extensions.tracking import Tracking as Tracking
from tfnlp.extensions.training import SUPERVISED as SUPERVISED
from tfnlp.extensions.training import Batch as Batch
from tfnlp.extensions.training import Defaults as Defaults
from tfnlp.extensions.training import Network as Network
from tfnlp.extensions.training import Origin as Origin
from tfnlp.extensions.training import Outcome as Outcome
from tfnlp.extensions.training import Source as Source
from tfnlp.extensions.training import Step as Step
from tfnlp.extensions.training import Strategy as Strategy
from tfnlp.extensions.training import TrainedModel as TrainedModel
from tfnlp.extensions.training import Trainer as Trainer
from tfnlp.extensions.training import accept as accept

Entry = TypeVar("Entry")

PACKAGES: Mapping[type, str] = {
    Strategy: "tfnlp.strategies",
    Peft: "tfnlp.peft",
    Augmenter: "tfnlp.augmenters",
    Explanation: "tfnlp.explanations",
    Audit: "tfnlp.audits",
    Study: "tfnlp.studies",
    Tracker: "tfnlp.trackers",
}


# The sections of an experiment that hold entries.
ENTRIES: Mapping[str, type] = {"strategy": Strategy, "peft": Peft, "augment": Augmenter}
SEEDS = 2**31  # as many as there are


def names(record: type) -> list[str]:
    """List the entries of a kind, such as `Strategy`, by name."""
    return discover.names(PACKAGES[record])


def load(record: type[Entry], name: str) -> Entry:
    """Return an entry of a kind by its name, or an outsider's by its module's dotted path.

    Raises:
        UserError: there is no such entry, or the module defines none.

    Example::

        load(Strategy, "supervised").summary
    """
    return discover.entry(PACKAGES[record], name, record)
