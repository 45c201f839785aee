"""Which graphs are refused: ops on files and Python that something which is run reaches."""

import os

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfnlp import serve
from tfnlp.serving import configuration, rules, trust
from tfnlp.serving.failures import RequestError
from tfnlp.serving.servable import Servable

TEXT = tf.TensorSpec([None], tf.string, "text")


def graph(folder):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0]


def saved(folder, serve, module=None, **attributes):
    module = module or tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    module.serve = tf.function(serve, input_signature=[TEXT], autograph=False)
    module.variable = tf.Variable(1.0)
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
    return folder


def writes(text):
    with tf.control_dependencies([tf.io.write_file("/tmp/never", text[0])]):
        return {"y": tf.identity(text)}


def nested(text):
    inner = tf.function(lambda x: tf.io.read_file(x), autograph=False)
    return {"y": tf.cond(tf.size(text) > 3, lambda: inner(text[0]), lambda: text[0])}


def graph_that_is_data(text):
    dataset = tf.raw_ops.DatasetFromGraph(graph_def=text[0])
    read = tf.data.experimental.from_variant(dataset, tf.TensorSpec([], tf.string))
    return {"y": read.reduce("", lambda a, b: a + b)[None]}


def python(text):
    return {"y": tf.numpy_function(lambda x: x, [text], tf.string)}


def printed(text):
    with tf.control_dependencies([tf.print(text, output_stream="file:///tmp/never")]):
        return {"y": tf.identity(text)}


@pytest.mark.parametrize(
    ("serve", "op"),
    [
        (writes, "WriteFile"),
        (nested, "ReadFile"),
        (graph_that_is_data, "DatasetFromGraph"),
        (python, "PyFunc"),
        (printed, "PrintV2"),
    ],
)
def test_ops_on_files_and_python_are_refused(serve, op, tmp_path):
    saved(tmp_path, serve)
    with pytest.raises(RequestError) as error:
        Servable(tmp_path)
    assert f"--trusted-ops {op}" in error.value.message
    assert trust.risky_ops(graph(tmp_path), [op]) == []
    Servable(tmp_path, [op])


def test_what_saves_variables_and_what_nothing_runs_is_no_matter(tmp_path):
    unused = tf.function(writes, input_signature=[TEXT], autograph=False)
    saved(tmp_path, lambda text: {"y": text}, unused=unused)
    assert "WriteFile" in str(graph(tmp_path).graph_def.library)
    assert "SaveV2" in str(graph(tmp_path).graph_def)
    assert trust.risky_ops(graph(tmp_path)) == []


@pytest.mark.parametrize("op", ["DumpTensor", "CalibrationStatisticsSaver"])
def test_ops_without_a_door_in_python_that_write_files_are_refused(op, tmp_path):
    found = graph(saved(tmp_path, lambda text: {"y": text}))
    for function in found.graph_def.library.function:
        function.node_def.add(name="added", op=op)
    assert trust.risky_ops(found) == [op]


class Restored(tf.lookup.experimental.MutableHashTable):
    def _restore_from_tensors(self, restored_tensors):
        with tf.control_dependencies(
            [
                tf.raw_ops.SaveV2(
                    prefix="/tmp/never",
                    tensor_names=["x"],
                    shape_and_slices=[""],
                    tensors=[tf.constant("x")],
                )
            ]
        ):
            return super()._restore_from_tensors(restored_tensors)


def test_what_restores_variables_writes_no_file(tmp_path):
    table = Restored(tf.string, tf.int64, -1)
    saved(tmp_path, lambda text: {"y": table.lookup(text)}, table=table)
    assert trust.risky_ops(graph(tmp_path)) == ["SaveV2"]


def test_a_node_is_not_hidden_by_a_function_of_its_name(tmp_path):
    with tf.Graph().as_default():
        text = tf.compat.v1.placeholder(tf.string, [None], name="text")
        read = tf.io.read_file(text[0], name="read")
        with tf.compat.v1.Session() as session:
            folder = str(tmp_path / "1")
            tf.compat.v1.saved_model.simple_save(session, folder, {"text": text}, {"y": read})
    found = graph(tmp_path / "1")
    found.graph_def.library.function.add().signature.name = "read"
    assert trust.risky_ops(found) == ["ReadFile"]


def test_an_initializer_is_looked_at(tmp_path):
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="mine")

        def _initialize(self):
            tf.io.write_file("/tmp/never", "a")

    saved(tmp_path, lambda text: {"y": text}, resource=Resource())
    assert trust.risky_ops(graph(tmp_path)) == ["WriteFile"]


def test_a_vocabulary_is_an_asset_or_refused(tmp_path):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("a\nb\n")
    initializer = tf.lookup.TextFileInitializer(
        str(vocabulary),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    folder = saved(tmp_path / "1", lambda text: {"y": table.lookup(text)}, table=table)
    assert trust.risky_ops(graph(folder)) == []
    found = graph(folder)
    found.asset_file_def[0].filename = "../../etc/passwd"
    assert trust.risky_ops(found)[0].startswith("InitializeTableFromTextFile")
    found = graph(folder)
    for node in found.object_graph_def.nodes:
        if node.WhichOneof("kind") == "asset":
            node.constant.operation = "elsewhere"
    assert trust.risky_ops(found)[0].startswith("InitializeTableFromTextFile")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    folder = saved(tmp_path / "1", lambda text: {"y": text})
    os.mkfifo(folder / "notes")
    with pytest.raises(RequestError, match="notes is no file"):
        Servable(folder)


def test_without_a_token_a_folder_has_one_name(tmp_path):
    once = [configuration.Wanted("a", tmp_path / "a"), configuration.Wanted("b", tmp_path / "b")]
    configuration.check_below(once, [tmp_path])
    twice = [*once, configuration.Wanted("c", tmp_path / "b" / ".." / "a")]
    with pytest.raises(RequestError, match="given two"):
        configuration.check_below(twice, [tmp_path])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "LocalHost", "::1", "[::1]"])
def test_hosts_of_this_machine(host):
    assert rules.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", ""])
def test_hosts_that_others_reach(host):
    assert not rules.is_loopback(host)


@pytest.mark.parametrize(
    ("options", "token", "said"),
    [
        ({"host": "0.0.0.0"}, None, "anyone may ask"),
        ({"host": "0.0.0.0"}, "secret", "the token can be read on the way"),
        ({"host": "0.0.0.0", "tls_certificate": "pem", "tls_key": "pem"}, "secret", ""),
        ({}, None, ""),
    ],
)
def test_a_server_that_others_reach_is_warned_of(
    options, token, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pem").write_text("")
    serve._check(tmp_path, serve.Options(**options), token)
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) == bool(said)


def test_links_out_of_the_folder_are_refused(tmp_path):
    folder = saved(tmp_path / "models" / "1", lambda text: {"y": text})
    (folder / "same.pb").symlink_to("saved_model.pb")
    link = tmp_path / "models" / "2"
    link.symlink_to("1")  # the version itself may be one
    Servable(link)
    (folder / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(RequestError, match="leads out"):
        Servable(link)
