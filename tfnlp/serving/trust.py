"""What a SavedModel's graph would do to files and to this process, read before anything is run.

A SavedModel is a program: TensorFlow runs what it says, when it is loaded and when it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from tensorflow.core.protobuf import meta_graph_pb2

# Ops that read or write files, reach other machines, call Python, or run a graph that is data.
_RISKY = re.compile(
    r"(Experimental)?("
    r"(Read|Write)File|MatchingFiles(Dataset)?|WholeFileReader(V2)?|RecordInput|LMDB\w+|SqlDataset"
    r"|(TextLine|TFRecord|FixedLengthRecord)(Reader|Dataset)\w*|(CSV|Cache|Save)Dataset\w*"
    r"|(Load|Snapshot|SnapshotNested|SnapshotChunk|ListSnapshotChunks)Dataset\w*"
    r"|DatasetToTFRecord|(DataService|Register)Dataset\w*|DatasetFromGraph|DeserializeIterator"
    r"|Save(V2|Slices)?|(DTensor)?Restore(V2|Slice)?|DistributedSave|MergeV2Checkpoints"
    r"|LoadAndRemapMatrix|GenerateVocabRemapping|InitializeTableFromTextFile(V2)?"
    r"|CreateSummary(File|Db)Writer|ImportEvent|FileSystemSetConfiguration"
    r"|Debug(Identity|NanCount|NumericSummary)\w*|DumpTensor|CalibrationStatisticsSaver"
    r"|(Eager)?PyFunc\w*|Rpc\w+"
    r"|CollectiveInitializeCommunicator)"
)
# A server restores, and never saves.
_OF_SAVING, _OF_RESTORING = {"SaveV2", "RestoreV2", "MergeV2Checkpoints"}, {"RestoreV2"}
_VOCABULARY = ("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")
# What TensorFlow calls of a resource when it is loaded and let go.
_OF_RESOURCE = {"_create_resource", "_initialize", "_destroy_resource"}
_INIT = "__saved_model_init_op"

_Node: TypeAlias = Any  # tensorflow.NodeDef


def risky_ops(graph: meta_graph_pb2.MetaGraphDef, trusted: Collection[str] = ()) -> list[str]:
    """Return the risky ops that a signature or an initializer reaches, sorted.

    What saves and restores the variables may do that; a table may be filled from a file among the
    model's assets.

    Args:
        graph: of a SavedModel.
        trusted: ops that are allowed.

    Example::

        risky_ops(saved_model.meta_graphs[0])  # ["WriteFile"]
    """
    return sorted(_Walk(graph).found() - set(trusted))


def links_out(folder: Path) -> list[Path]:
    """Return the links within a version's folder that lead out of it.

    Example:
        >>> Path("1").mkdir()
        >>> Path("1/saved_model.pb").symlink_to("/etc/hostname")
        >>> links_out(Path("1"))
        [PosixPath('1/saved_model.pb')]
    """
    real = folder.resolve()
    links = (path for path in sorted(folder.rglob("*")) if path.is_symlink())
    return [link for link in links if not link.resolve().is_relative_to(real)]


def no_files(folder: Path) -> list[Path]:
    """Return what in a version's folder is neither a file nor a folder: who reads it may wait.

    Example::

        no_files(Path("saved_models/trec/1"))  # []
    """
    return [path for path in sorted(folder.rglob("*")) if not (path.is_file() or path.is_dir())]


class _Walk:
    """The nodes of a graph, followed from what is run.

    Args:
        graph: of a SavedModel.
    """

    def __init__(self, graph: meta_graph_pb2.MetaGraphDef) -> None:
        self._graph = graph
        self._functions = {f.signature.name: f for f in graph.graph_def.library.function}
        self._nodes = {node.name: node for node in graph.graph_def.node}
        self._objects = graph.object_graph_def

    def found(self) -> set[str]:
        """Return the risky ops."""
        reached = self._reached([*self._asked(), *self._initializers()])
        found = {node.op for node, function in reached if self._is_risky(node, function)}
        saves, restores = self._of_saver()
        for starts, excepted in ((saves, _OF_SAVING), (restores, _OF_RESTORING)):
            risky = {node.op for node, f in self._reached(starts) if self._is_risky(node, f)}
            found |= risky - excepted
        return found

    # ------------------------------------------------------------------- where a walk begins

    def _asked(self) -> Iterator[str]:
        """Return what answers requests: nodes, and functions."""
        for definition in self._graph.signature_def.values():
            yield from (info.name for info in definition.outputs.values())
        for node in self._objects.nodes:
            for child in node.children:
                if child.local_name == "signatures":
                    yield from self._functions_of(self._objects.nodes[child.node_id])

    def _initializers(self) -> Iterator[str]:
        """Return what is run when the model is loaded, and when its resources are let go."""
        for key in ("saved_model_main_op", "legacy_init_op", _INIT):
            if key in self._graph.collection_def:
                yield from self._graph.collection_def[key].node_list.value
        for node in self._objects.nodes:
            for child in node.children:
                if child.local_name in _OF_RESOURCE:
                    yield from self._concrete(child.node_id)

    def _of_saver(self) -> tuple[list[str], list[str]]:
        """Return what saves variables, and what restores them."""
        saver = self._graph.saver_def
        saves, restores = [saver.save_tensor_name], [saver.restore_op_name]
        for node in self._objects.nodes:
            for saveable in node.saveable_objects.values():
                saves += self._concrete(saveable.save_function)
                restores += self._concrete(saveable.restore_function)
        return saves, restores

    def _functions_of(self, node: Any) -> Iterator[str]:
        for child in node.children:
            yield from self._concrete(child.node_id)

    def _concrete(self, number: int) -> list[str]:
        """Return the functions of an object."""
        node = self._objects.nodes[number]
        return [
            *node.function.concrete_functions,
            node.bare_concrete_function.concrete_function_name,
        ]

    # ------------------------------------------------------------------- where it goes

    def _reached(self, starts: Iterable[str]) -> Iterator[tuple[_Node, str]]:
        """Return the nodes that some nodes and functions reach, each with its function's name.

        A node may have the name of a function, or of an op: they are told apart.
        """
        waiting = [(name, is_node) for name in starts for is_node in (True, False)]
        seen = set[tuple[str, bool]]()
        while waiting:
            name, is_node = waiting.pop()
            name = name.lstrip("^").partition(":")[0]
            if (name, is_node) in seen:
                continue
            seen.add((name, is_node))
            if is_node and name in self._nodes:
                node = self._nodes[name]
                yield node, ""
                waiting += [(each, True) for each in node.input]
                waiting += [(each, False) for each in _called(node)]
            elif not is_node and name in self._functions:
                for node in self._functions[name].node_def:
                    yield node, name
                    waiting += [(each, False) for each in _called(node)]

    def _is_risky(self, node: _Node, function: str) -> bool:
        if node.op == "PrintV2":
            return bool(node.attr["output_stream"].s.startswith(b"file:"))
        if node.op in _VOCABULARY:
            return not self._is_asset(node.input[1].partition(":")[0], function)
        return bool(_RISKY.fullmatch(node.op))

    def _is_asset(self, name: str, function: str) -> bool:
        """Return whether a file's name is one of the model's assets."""
        assets = self._graph.asset_file_def
        if any(_is_outside(asset.filename) for asset in assets):
            return False
        if not function:
            return name in {asset.tensor_info.name.partition(":")[0] for asset in assets}
        if function not in self._objects.concrete_functions:
            return False
        inputs = [each.name for each in self._functions[function].signature.input_arg]
        bound = self._objects.concrete_functions[function].bound_inputs
        given = dict(zip(inputs[len(inputs) - len(bound) :], bound, strict=True))
        if name not in given:
            return False
        return bool(self._objects.nodes[given[name]].WhichOneof("kind") == "asset")


def _called(node: _Node) -> list[str]:
    """Return the functions that a node may call."""
    found = [node.op]
    for value in node.attr.values():
        found += [value.func.name, *(each.name for each in value.list.func)]
    return found


def _is_outside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts
