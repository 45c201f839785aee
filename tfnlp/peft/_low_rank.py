"""What methods share that add products of thin matrices: which matrices, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pipelines.errors import UserError
from tfnlp.extensions import Adaptable

if TYPE_CHECKING:
    import keras

Matrix: TypeAlias = Literal["query", "key", "value", "attention", "intermediate", "output"]


def places(
    backbone: Adaptable,
    method: str,
    targets: tuple[Matrix, ...],
    *,
    alpha: float,
    rank: int,
    said: str,
) -> list[tuple[str, keras.layers.Layer]]:
    """Freeze a backbone, and find the projections that products are added to.

    Args:
        backbone: what is adapted.
        method: name of the peft method, with which its flags begin.
        targets: names of the matrices.
        alpha: what the products are multiplied by.
        rank: their inner size.
        said: what of the options says the rank.

    Returns:
        Each projection with a name for what is added to it, which no other has.

    Raises:
        UserError: alpha is 0, the backbone has none of the matrices, or the rank exceeds one.

    Example::

        places(backbone, "lora", ("query", "value"), alpha=16.0, rank=8, said="--lora-rank 8")
    """
    from tfnlp.backbones import insertions

    if not alpha:
        raise UserError(f"--{method}-alpha 0 would train nothing but the head (give more than 0)")
    found = insertions.places(backbone, targets, method, f"other --{method}-targets, ")
    for _, layer in found:
        most = min(insertions.shape_of(layer))
        if rank > most:
            raise UserError(
                f"{said} is more than the {most} that the matrix {layer.name} of {backbone.name} "
                "has (less makes sense, such as 8)"
            )
    return found
