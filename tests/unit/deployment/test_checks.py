"""What is found in a model before it is served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from pipelines.errors import UserError
from tfnlp.deployment import checks, models, versions, warmup
from tfnlp.inference import serving_ops

from .saving import STRINGS, predict, save, write_warmups


def checked(folder: Path, version: str = "2.19", together: bool = True) -> checks.Findings:
    return checks.check(models.read(str(folder)), versions.Release.of(version), together)


def test_a_good_model_passes(saved):
    findings = checked(saved / "loud")
    assert not findings.errors
    assert not findings.warnings
    assert any("2.12" in text for text in findings.passed)
    assert any("1 warm-up requests fit" in text for text in findings.passed)


def test_an_op_that_the_server_lacks_is_named(tmp_path, monkeypatch):
    folder = save(tmp_path / "m" / "1")
    known = serving_ops.known("2.12") - {"StringUpper"}
    monkeypatch.setattr(serving_ops, "known", lambda version: known)
    assert "'StringUpper'" in checked(folder).errors[0]
    assert "TF Serving 2.19 does not run" in checked(folder).errors[0]
    unknown = checked(folder, "2.20")  # it may have it
    assert not unknown.errors
    assert any("StringUpper" in text for text in unknown.warnings)


def test_what_needs_a_compiler_is_refused(tmp_path):
    compiled = tf.function(lambda x: x * 2, jit_compile=True)
    serve = tf.function(
        lambda text: {"twice": compiled(tf.strings.length(text))},
        [tf.TensorSpec([None], tf.string, "text")],
    )
    findings = checked(save(tmp_path / "m" / "1", serve))
    assert "XLA-compiled function" in findings.errors[0]


def test_versions_of_which_little_is_known_say_so(saved):
    assert not checked(saved / "loud", "2.12").warnings
    assert "not known here" in checked(saved / "loud", "2.21").warnings[0]
    assert any("is assumed" in text for text in checked(saved / "loud", "2.21").passed)
    assert any("(assumed:" in text for text in checked(saved / "loud", "2.19").passed)


def test_2_11_is_doubted_where_fast_tokenizers_are_used(tmp_path):
    text = pytest.importorskip("tensorflow_text")
    tokenizer = text.FastWordpieceTokenizer(["[UNK]", "a", "##b"], token_out_type=tf.int32)
    serve = tf.function(
        lambda text: {"count": tokenizer.tokenize(text).row_lengths()},
        [tf.TensorSpec([None], tf.string, "text")],
    )
    folder = save(tmp_path / "m" / "1", serve)
    assert "2064" in checked(folder, "2.11").warnings[0]
    assert not checked(folder, "2.12").warnings


def test_every_listed_op_is_still_in_tensorflow():
    """It has kept its ops from 2.12 on, but for internals that no SavedModel of ours holds."""
    pytest.importorskip("tensorflow_text")
    internal = re.compile("_|.*TRT|GetCalibrationDataOp|TfLite")
    gone = [op for op in serving_ops.known("2.12") if op and op_def_registry.get(op) is None]
    assert [op for op in gone if not internal.match(op)] == []


@pytest.mark.parametrize(
    ("text", "tag"), [("2.19", "2.19.1"), ("2.19.0", "2.19.0"), ("2.12", "2.12.2")]
)
def test_versions_and_their_images(text, tag):
    assert versions.Release.of(text).tag == tag


@pytest.mark.parametrize("text", ["2.10", "3.0", "2", "latest", "2.19.x", "2.19.1.1", "٢.١٩", ""])
def test_unknown_versions_are_refused(text):
    with pytest.raises(UserError, match="--serving-version"):
        versions.Release.of(text)


@pytest.mark.parametrize(
    "spec",
    [
        tf.TensorSpec([None], tf.int32, "text"),
        tf.TensorSpec([1], tf.string, "text"),
        tf.TensorSpec([], tf.string, "text"),
        tf.TensorSpec([None, None], tf.string, "text"),
        tf.TensorSpec(None, tf.string, "text"),
    ],
)
def test_inputs_must_be_strings_by_rows(tmp_path, spec):
    serve = tf.function(lambda text: {"same": text}, [spec])
    findings = checked(save(tmp_path / "m" / "1", serve, warmups=()))
    assert "strings of shape [None]" in findings.errors[0]


def test_a_signature_of_another_name_is_not_enough(tmp_path):
    folder = tmp_path / "m" / "1"
    serve = tf.function(lambda text: {"same": text}, [tf.TensorSpec([None], tf.string, "text")])
    tf.saved_model.save(tf.Module(), str(folder), {"ask": serve})
    assert "it has: ask" in checked(folder).errors[0]


def test_bytes_come_back_as_base64(tmp_path):
    serve = tf.function(
        lambda text: {"raw_bytes": text, "length_bytes": tf.strings.length(text)},
        [tf.TensorSpec([None], tf.string, "text")],
    )
    warnings = checked(save(tmp_path / "m" / "1", serve)).warnings
    assert ["raw_bytes" in text for text in warnings] == [True]


def test_what_cannot_be_batched_is_told(tmp_path):
    scalar = tf.function(lambda steps: {"next": steps + 1}, [tf.TensorSpec([], tf.int32, "steps")])
    ids = tf.function(
        lambda ids: {"sum": tf.reduce_sum(ids, 1)}, [tf.TensorSpec([None, None], tf.int32, "ids")]
    )
    fixed = tf.function(lambda text: {"all": tf.constant([1, 2])}, [STRINGS])
    more = {"advance": scalar, "tokens": ids, "fixed": fixed}
    folder = save(tmp_path / "m" / "1", signatures=more)
    first, second = checked(folder).warnings
    assert "advance and fixed fail" in first
    assert "tokens" in second
    assert not checked(folder, together=False).warnings


def test_a_model_without_warmups_is_slow_at_first(tmp_path):
    findings = checked(save(tmp_path / "m" / "1", warmups=()))
    assert not findings.errors
    assert "first requests will be slow" in findings.warnings[0]


def classify() -> bytes:
    request = classification_pb2.ClassificationRequest()
    log = prediction_log_pb2.ClassifyLog(request=request)
    return prediction_log_pb2.PredictionLog(classify_log=log).SerializeToString()


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ([b"\xff\xff"], "record 1 is not a PredictionLog"),
        ([b""], "record 1 holds no request"),
        ([predict("m", "a"), predict("m", "a", "other")], "record 2 asks for the signature"),
        ([predict("m", "a", column="txt")], "record 1 lacks the input 'text'"),
        ([classify()], "record 1 is a classify request"),
        ([predict("m", "a")] * 1001, "more than 1000 records"),
    ],
)
def test_warmups_that_would_fail_are_found(tmp_path, records, fault):
    folder = save(tmp_path / "m" / "1", warmups=())
    write_warmups(folder, records)
    assert fault in checked(folder).errors[0]


def test_a_warmup_of_another_type_is_found(tmp_path):
    folder = save(tmp_path / "m" / "1", warmups=())
    request = predict_pb2.PredictRequest()
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([1], tf.int32))
    log = prediction_log_pb2.PredictLog(request=request)
    record = prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()
    write_warmups(folder, [record])
    assert "another type or shape" in checked(folder).errors[0]


def test_a_file_that_is_no_tfrecord_is_found(tmp_path):
    folder = save(tmp_path / "m" / "1")
    path = folder / warmup.FILE
    path.write_bytes(path.read_bytes()[:-3])
    assert "not a TFRecord file" in checked(folder).errors[0]


def test_a_renamed_model_still_warms_up(tmp_path):
    folder = save(tmp_path / "before" / "1")
    folder.parent.rename(tmp_path / "after")
    findings = checked(tmp_path / "after")
    assert not findings.errors
    assert "name the model 'before'" in findings.warnings[0]


def test_what_reads_files_is_refused_unless_it_is_trusted(tmp_path):
    serve = tf.function(
        lambda text: {"content": tf.map_fn(tf.io.read_file, text)},
        [tf.TensorSpec([None], tf.string, "text")],
    )
    folder = save(tmp_path / "m" / "1", serve)
    assert "--trusted-ops ReadFile" in checked(folder).errors[0]
    trusting = checks.check(
        models.read(str(folder)), versions.Release.of("2.19"), True, trusted=["ReadFile"]
    )
    assert not trusting.errors


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = save(tmp_path / "m" / "1")
    (folder / "README.md").symlink_to("/etc/hostname")
    assert "leads out" in checked(folder).errors[0]
