"""What of a network is trained.

The protocols say what an entry may ask of its caller; ``tfnlp/training`` fulfils them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tfnlp.extensions.training import Defaults
from tfnlp.report import Report
from tfnlp.task import Kind

if TYPE_CHECKING:
    import keras


class Adaptable(Protocol):
    """A backbone as peft methods see it (`tfnlp.backbones.loading.Backbone`).

    Attributes:
        name: as it was asked for.
        kind: what it can do.
        model: the functional Keras model.
        blocks: its layers, the embeddings' first, then each transformer layer's.
    """

    @property
    def name(self) -> str:
        """As it was asked for."""

    @property
    def kind(self) -> Kind:
        """What it can do."""

    @property
    def model(self) -> keras.Model:
        """The functional Keras model."""

    @property
    def blocks(self) -> tuple[tuple[keras.layers.Layer, ...], ...]:
        """Its layers, the embeddings' first, then each transformer layer's."""


class PeftStep:
    """What a peft method does at each step of a fit, beside the strategy's `Step`.

    It is used in one fit.

    Attributes:
        variables: of its own that decide how training continues; they are in the checkpoints.

    Example::

        class Small(PeftStep):
            def loss(self, network, x, outputs):
                return 1e-4 * tf.add_n([tf.reduce_sum(tf.square(w)) for w in self.added])
    """

    variables: Sequence[Any] = ()

    def build(self, network: keras.Model, updates: int) -> None:
        """Make variables, in the scope of the devices.

        Args:
            network: what is trained.
            updates: of the weights in all epochs of the fit, if it ends no earlier.

        Raises:
            UserError: the method cannot be used in this fit.
        """

    def before_pass(self) -> None:
        """Do what comes before each pass of a batch in training, once for all its parts."""

    def loss(self, network: Any, x: Any, outputs: Any) -> Any:
        """Return what is added to the task's loss of a batch, a scalar: a mean over its rows."""
        return 0.0

    def updated(self, network: Any, gradients: Sequence[tuple[Any, Any]], scale: Any) -> None:
        """Do what follows an update of the weights, in graph.

        With ``--accumulate`` it is called once for all batches of an update.

        Args:
            network: what is trained.
            gradients: of all rows of the update, times the scale, each with its weight; where one
                overflowed in float16, the weights are as they were.
            scale: what keeps float16 gradients from vanishing, a scalar; otherwise 1.
        """

    def logs(self) -> Mapping[str, float]:
        """Return figures of the method's own, which are logged after each epoch."""
        return {}

    def finish(self) -> None:
        """Look at what the fit came to.

        Raises:
            UserError: the method did not do what it is for.
        """

    def report(
        self,
        network: Any,
        metrics: Mapping[str, float],
        evaluate: Callable[[], Mapping[str, float]],
    ) -> Report | None:
        """Return findings on the trained network, which are added to the run's report.

        Args:
            network: what was trained, with its best weights.
            metrics: of the validation rows, the headline first.
            evaluate: returns them of the network as it is now, which is traced at the first call.
        """
        return None


@dataclass(frozen=True)
class Peft:
    """Which few weights of a backbone are trained, or are added to it and trained in its place.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the method's name.
        adapt: (backbone, options) -> None; adds weights and sets which are trainable, after the
            backbone was loaded and before a head is put on it. It is called when a model is loaded
            again, too: the file of a run holds only what was trained, and weights that are not
            must come out the same each time.
        start: (backbone, options) -> None; gives what was added other weights to start from, after
            ``adapt`` and before training alone.
        step: options -> what is done at each step of a fit, if anything is.
        defaults: section -> option -> the default with this method, such as its learning rate.
    """

    summary: str
    options: type
    adapt: Callable[[Adaptable, Any], None]
    start: Callable[[Adaptable, Any], None] | None = None
    step: Callable[[Any], PeftStep] | None = None
    defaults: Defaults = field(default_factory=dict)
