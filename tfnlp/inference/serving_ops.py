"""Which ops TF Serving runs: a graph's ops against those that a version of the server registers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError

if TYPE_CHECKING:
    from tensorflow.core.framework import node_def_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2


@dataclass(frozen=True)
class Node:
    """A node of a graph, or of one of its functions.

    Attributes:
        op: its op.
        name: its own.

    Example::

        Node("MatMul", "dense/MatMul")
    """

    op: str
    name: str


def known(version: str) -> set[str]:
    """Return the ops of a version of TF Serving, from ``serving_ops_<version>.txt``.

    Example:
        >>> "MatMul" in known("2.12")
        True
    """
    listed = resources.files("tfnlp.inference").joinpath(f"serving_ops_{version}.txt")
    return {row for row in listed.read_text("utf-8").split("\n") if not row.startswith("#")}


def nodes(graph: meta_graph_pb2.MetaGraphDef) -> list[Node]:
    """Return the nodes of a graph and of its functions, without calls of these functions.

    Example::

        {node.op for node in nodes(read(folder).meta_graphs[0])}
    """
    functions = {function.signature.name for function in graph.graph_def.library.function}
    return [Node(each.op, each.name) for each in every_node(graph) if each.op not in functions]


def every_node(graph: meta_graph_pb2.MetaGraphDef) -> list[node_def_pb2.NodeDef]:
    """Return the nodes of a graph and of its functions, to be read or changed.

    Example::

        for node in every_node(graph):
            node.device = ""
    """
    library = graph.graph_def.library.function
    return [*graph.graph_def.node, *(node for function in library for node in function.node_def)]


def missing(graph: meta_graph_pb2.MetaGraphDef, version: str) -> list[Node]:
    """Return the nodes whose ops are not among a version's, an op once.

    XLA's ops are known to the stock server, but ask for a compiler that it has not.

    Example::

        [node.op for node in missing(read(folder).meta_graphs[0], "2.12")]  # ["XlaCallModule"]
    """
    there = known(version)
    found: dict[str, Node] = {}
    for node in nodes(graph):
        if node.op not in there or node.op.startswith("Xla"):
            found.setdefault(node.op, node)
    return list(found.values())


def compiled(graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Return the names of what asks for XLA's compiler: nodes and functions.

    Example::

        compiled(read(folder).meta_graphs[0])  # [] unless something has jit_compile
    """
    named = [(node.name, node) for node in every_node(graph)]
    named += [(each.signature.name, each) for each in graph.graph_def.library.function]
    return [name for name, each in named if each.attr["_XlaMustCompile"].b]


def check(folder: Path, version: str) -> None:
    """Check the graph of a SavedModel.

    Args:
        folder: the SavedModel's.
        version: TF Serving's, of which there is a list of ops.

    Raises:
        UserError: the graph has what this server does not run.

    Example::

        check(Path("saved_models/trec/1"), "2.12")
    """
    graph = read(folder).meta_graphs[0]
    for node in missing(graph, version):
        raise UserError(
            f"the model's graph has the op {node.op!r} (node {node.name!r}), which TF Serving "
            f"{version} does not run; write the task's encode and decode without it"
        )
    for name in compiled(graph):
        raise UserError(
            f"the model's graph has the XLA-compiled function {name!r}, which TF Serving's "
            "stock server does not run on CPU; build it without jit_compile"
        )


def read(folder: Path) -> saved_model_pb2.SavedModel:
    """Read ``saved_model.pb``.

    Example::

        read(Path("saved_models/trec/1")).meta_graphs[0].signature_def["serving_default"]
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    return saved
