"""The numbers in the generated files, each by a rule that they repeat in a comment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.errors import UserError
from tfnlp.deployment.models import Served
from tfnlp.deployment.versions import Release

MIB = 2**20
SERVER = 512  # of a server without models, with room for requests [MiB]
# Measured with TensorFlow 2.21 on three models that write text (2026-11): a session took 1.2 times
# the weights and 62 to 73 times saved_model.pb more after 32 rows than before it was loaded.
WEIGHTS, GRAPH = 1.2, 70
MOST = 32  # rows, as many as tfnlp.predict sends at a time
LARGEST = 4096


@dataclass(frozen=True)
class Plan:
    """A deployment.

    Attributes:
        app: its name, in Docker and Kubernetes.
        release: of TF Serving.
        models: what is served.
        cpus: cores of a container.
        most: by model the rows in a batch, at most; empty without batching.
        in_models: every version's folder holds its own batching parameters.

    Example::

        plan = Plan("trec", Release.of("2.19"), [read("trec")], 2, {"trec": 32}, in_models=False)
        plan.request, plan.limit  # MiB
    """

    app: str
    release: Release
    models: Sequence[Served]
    cpus: int
    most: Mapping[str, int]
    in_models: bool

    @property
    def request(self) -> int:
        """Memory for the models as they are [MiB]."""
        return _rounded(SERVER + sum(map(_memory, self.models)))

    @property
    def limit(self) -> int:
        """Memory while each model is there in two versions [MiB]."""
        return _rounded(SERVER + 2 * sum(map(_memory, self.models)))

    @property
    def storage(self) -> int:
        """Room for four versions of each model [GiB]."""
        size = sum(model.weights + model.graph_size for model in self.models)
        return max(1, -(-4 * size // 2**30))

    @property
    def startup(self) -> int:
        """How long loading may take: 120 s and 4 s for each MiB of graph, at least 300 s [s]."""
        graphs = sum(model.graph_size for model in self.models)
        return max(300, 5 * (-(-(120 + 4 * graphs // MIB) // 5)))

    @property
    def shared(self) -> int:
        """Rows in a batch where all models share the parameters: the fewest asked for."""
        return min(self.most.values())


def _memory(model: Served) -> float:
    """What a version takes [MiB]."""
    return (WEIGHTS * model.weights + GRAPH * model.graph_size) / MIB


def _rounded(size: float) -> int:
    """Round up to 64 MiB."""
    return int(-(-size // 64) * 64)


def batch_sizes(most: int) -> list[int]:
    """Return the allowed sizes of batches: powers of two below ``most``, and ``most``.

    Example:
        >>> batch_sizes(12)
        [1, 2, 4, 8, 12]
    """
    return [*(2**i for i in range(most.bit_length()) if 2**i < most), most]


def most_rows(given: Sequence[str], models: Sequence[Served]) -> dict[str, int]:
    """Return by model how many rows a batch has at most.

    Args:
        given: ``N`` for all models, ``NAME=N`` for one; the last one counts.
        models: those there are; each has 32 rows, unless given.

    Raises:
        UserError: it is not a number from 1 to 4096, or there is no such model.

    Example::

        most_rows(["16", "en-es=4"], models)  # {"trec": 16, "en-es": 4}
    """
    found = dict.fromkeys((model.name for model in models), MOST)
    for text in sorted(given, key=lambda text: "=" in text):
        name, equals, number = text.rpartition("=")
        if equals and name not in found:
            raise UserError(
                f"--max-batch-size {text}: there is no model {name!r}; there is: {', '.join(found)}"
            )
        if not re.fullmatch(r"[0-9]{1,4}", number) or not 1 <= int(number) <= LARGEST:
            raise UserError(
                f"--max-batch-size {text}: {number!r} is not a number of rows from 1 to {LARGEST}"
            )
        found |= dict.fromkeys([name] if equals else list(found), int(number))
    return found


def app_name(given: str | None, models: Sequence[Served]) -> str:
    """Return the deployment's name: as given, or from the only model's name.

    Raises:
        UserError: Kubernetes would not take it.

    Example::

        app_name(None, [read("TREC_questions")])  # "trec-questions"
    """
    if given is None:
        plain = re.sub(r"[^a-z0-9]+", "-", models[0].name.lower()).strip("-")
        plain = plain if re.match("[a-z]", plain) else f"model-{plain}".strip("-")
        return plain[:40].strip("-") if len(models) == 1 else "tf-serving"
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", given):
        raise UserError(
            f"--name {given!r} must be at most 40 small letters, digits and hyphens, the first one "
            "a letter and the last one no hyphen, as Kubernetes wants it"
        )
    return given
