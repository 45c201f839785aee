"""Mixtures of adapters: training goes through experts at random, serving through their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.extensions import Adaptable, Peft, PeftStep
from tfnlp.options import option
from tfnlp.report import Report, Table, four_places

if TYPE_CHECKING:
    import keras

_NAME = "mixture_of_experts"
_DRAWS = 3  # random routings whose scores are compared with that of the mean


@dataclass(frozen=True)
class Options:
    """How many adapters, how large, and how their answers are kept together.

    Example::

        python -m tfnlp.train --train rows.csv --peft mixture_of_experts
    """

    experts: int = option(4, "adapters in each place", minimum=2, maximum=64)
    size: int = option(48, "the width of the bottleneck", minimum=1)
    consistency: float = option(
        1.0,
        "weight of how far two passes through other experts are apart, added to the loss; 0 saves "
        "the second pass",
        minimum=0.0,
    )
    share: bool = option(True, "all experts of a place have one projection up")


def adapt(backbone: Adaptable, options: Options) -> None:
    """Freeze a backbone, and put several trainable adapters after each feed-forward layer.

    Raises:
        UserError: the backbone is no encoder, or has no place for them, or they would be wider.

    Example::

        backbone = loading.load("minilm-l6-en")
        adapt(backbone, Options(experts=4, size=48))  # trains 556,416 weights of 23.1 million

    Source: Wang et al. 2022, "AdaMix: mixture-of-adaptations for parameter-efficient model
        tuning" (https://arxiv.org/abs/2205.12410).
    """
    from tfnlp.backbones import experts, insertions

    if backbone.kind != "encoder":
        raise UserError(
            f"--peft {_NAME} is for encoders, and the backbone {backbone.name!r} is "
            f"{backbone.kind} (take --peft lora or adapters)"
        )
    routes = experts.Routes()
    for place, (name, layer) in enumerate(insertions.places(backbone, ("output",), _NAME)):
        _, outputs = insertions.shape_of(layer)
        said = f"--mixture-of-experts-size {options.size}"
        insertions.check_bottleneck(said, options.size, outputs)
        mixture = experts.Mixture(
            outputs,
            size=options.size,
            experts=options.experts,
            share=options.share,
            activation="relu",
            routes=routes,
            place=place,
            name=name,
        )
        insertions.insert(layer, mixture)


class Routing(PeftStep):
    """Draws experts for each pass in training, and lets two passes agree.

    A pass draws two experts for each place, one to project down and one to project up, for all
    rows of the batch: parts of it on several cores, and all replicas, go through the same.

    Args:
        options: the method's.

    Example::

        network.peft_step = Routing(Options())
        network.peft_step.build(network, updates=400)
    """

    def __init__(self, options: Options) -> None:
        self.options = options

    def build(self, network: keras.Model, updates: int) -> None:
        """Make the generator of routes, and counts of how often each expert was taken.

        Raises:
            UserError: the task writes text.
        """
        import keras

        from tfnlp.backbones import experts

        if "decoder_ids" in network.input:
            raise UserError(
                f"--peft {_NAME} is for tasks that do not write text (take --peft lora or adapters)"
            )
        found = experts.mixtures(network)
        self.places, self.routes = len(found), found[0].routes
        self.generator = keras.random.SeedGenerator()
        shape = (self.places, 2, self.options.experts)
        self.taken = keras.Variable(
            keras.ops.zeros(shape, "int32"), trainable=False, dtype="int32", name="experts_taken"
        )
        self.variables = (self.generator.state, self.taken)

    def before_pass(self) -> None:
        """Draw the experts of each place."""
        import keras

        count = self.options.experts
        self.routes.chosen = keras.random.randint((self.places, 2), 0, count, seed=self.generator)
        self.taken.assign_add(keras.ops.one_hot(self.routes.chosen, count, dtype="int32"))

    def loss(self, network: Any, x: Any, outputs: Any) -> Any:
        """Return how far a second pass, through other experts, is from the first, weighted."""
        from tfnlp.heads import agreement

        if not self.options.consistency:
            return 0.0
        other = network(x, training=True)
        return self.options.consistency * agreement.distance(network.loss, x, outputs, other)

    def logs(self) -> Mapping[str, float]:
        """Return what share of the epoch's choices fell on each expert.

        ``load_1`` and so on are over all places; ``load_least`` is the smallest of any expert of
        any place.
        """
        import numpy as np

        taken = self.taken.numpy()[:, : 1 if self.options.share else 2]
        self.taken.assign(np.zeros_like(self.taken.numpy()))
        shares = taken / np.maximum(taken.sum(-1, keepdims=True), 1)
        load = {f"load_{i}": float(s) for i, s in enumerate(shares.mean((0, 1)), 1)}
        return {**load, "load_least": float(shares.min())}

    def report(
        self,
        network: Any,
        metrics: Mapping[str, float],
        evaluate: Callable[[], Mapping[str, float]],
    ) -> Report:
        """Return the validation scores of the averaged model and of random routes."""
        import numpy as np
        import tensorflow as tf

        from tfnlp.backbones import experts

        found = experts.mixtures(network)
        random = np.random.default_rng(0)
        size, count = (len(found), 2), self.options.experts
        chosen = tf.Variable(np.zeros(size, "int32"), trainable=False)
        draws = []
        with experts.routed(found[0].routes, chosen):
            for _ in range(_DRAWS):
                chosen.assign(random.integers(0, count, size))
                draws.append(evaluate())
        names = [name for name in metrics if all(name in draw for draw in draws)]
        mean = {name: float(np.mean([draw[name] for draw in draws])) for name in names}
        rows = [(name, four_places(metrics[name]), four_places(mean[name])) for name in names]
        header = ("validation", "averaged", f"at random, mean of {_DRAWS}")
        return Report(
            {f"random_{name}": value for name, value in mean.items()},
            [Table("What averaging the experts costs", header, rows)],
        )


PEFT = Peft(
    summary="train several adapters in each place, taken at random, and serve their mean (AdaMix)",
    options=Options,
    adapt=adapt,
    step=Routing,
    defaults={"optimizer": {"learning_rate": 3e-3}},
)
