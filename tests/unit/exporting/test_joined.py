"""What joined models answer is what each answers alone; the backbone is there once."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp import export
from tfnlp.backbones import loading
from tfnlp.exporting import shared_pass
from tfnlp.exporting.shared_pass import Head
from tfnlp.inference import remote, saved_model
from tfnlp.runs import storage, subject


def _module(name, file):
    spec = importlib.util.spec_from_file_location(name, file)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


small = _module("small_runs", Path(__file__).parent / "small_runs.py")
running = _module("running", Path(__file__).parents[2] / "serving" / "running.py")

TEXTS = ["a b c", "", "杜甫 x 👍🏽 y", "z " * 50, "q"]
KINDS = {
    "topics": ("classification", {"labels": ["x", "y", "z"], "peft": "lora"}),
    "names": ("ner", {"peft": "lora", "seed": 3}),
    "ups": ("classification", {"labels": ["up", "down"], "freeze_layers": 1, "seed": 4}),
    "price": ("regression", {"freeze_layers": 1, "seed": 6}),
}


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    return small.backbone(tmp_path_factory.mktemp("backbone"), layers=1)


@pytest.fixture(scope="module")
def runs(on, tmp_path_factory):
    """Runs by name."""
    parent = tmp_path_factory.mktemp("runs")
    kinds = {
        **KINDS,
        "moods": ("classification", {"labels": ["sad", "glad"], "peft": "lora", "seed": 2}),
    }
    return {
        name: small.run(parent / name, name, task, on, **options)
        for name, (task, options) in kinds.items()
    }


@pytest.fixture(scope="module")
def alone(runs):
    """What each run answers to TEXTS by itself."""
    return {name: subject.load(run).answer({"text": TEXTS}) for name, run in runs.items()}


@pytest.fixture(scope="module")
def joined(runs, tmp_path_factory):
    """The folder of all of them joined."""
    parent = tmp_path_factory.mktemp("saved_models")
    argv = [
        *(runs[name] for name in KINDS),
        "--join",
        "--name",
        "all",
        "--saved-models",
        str(parent),
    ]
    assert export.main(argv) == 0
    return parent / "all" / "1"


@pytest.fixture(scope="module")
def saved(joined):
    return saved_model.opened(joined, "float32")


def _same(one, other, away=1e-4):
    """Compare answers, numbers to some digits."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _same(one[key], other[key], away)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _same(a, b, away)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=away)
    else:
        assert one == other


def test_each_signature_answers_as_its_run_does(saved, alone):
    for name in KINDS:
        _same(saved.model(name).answer({"text": TEXTS}), alone[name])
    _same(saved.model().answer({"text": TEXTS}), alone["topics"])


def test_one_request_is_answered_by_all(saved, alone):
    for row, answer in enumerate(saved.model("all").answer({"text": TEXTS})):
        wanted = {
            f"{name}.{field}": value for name in KINDS for field, value in alone[name][row].items()
        }
        _same(dict(sorted(answer.items())), dict(sorted(wanted.items())))


@pytest.mark.parametrize(
    "heads",
    [["topics", "names", "ups", "price", "topics"], ["price", "price", "ups", "price", "ups"]],
)
def test_a_batch_mixes_heads(heads, saved, alone):
    asked = {"text": TEXTS, "head": heads}
    answers = saved.model("heads").answer(asked)
    for row, (answer, head) in enumerate(zip(answers, heads, strict=True)):
        _same(answer, {**alone[head][row], "head": head})


@pytest.mark.slow
def test_a_server_and_plain_tensorflow_answer_the_same(joined, saved, tmp_path):
    asked = {"all": {"text": TEXTS}, "names": {"text": TEXTS}}
    asked["heads"] = {"text": TEXTS, "head": ["names", "ups", "topics", "price", "names"]}
    plain = tf.saved_model.load(str(joined))
    server = running.Running(joined.parents[1], log=tmp_path / "log.txt")
    try:
        for way, texts in asked.items():
            wanted = saved.model(way).answer(texts)
            for address in (f"{server.url}/v1/models/all", f"grpc://{server.grpc}/all"):
                found = remote.opened(address).model(way).answer(texts)
                _same(found, wanted, away=0.02)  # where it is quick the server takes bfloat16
            tensors = {name: tf.constant(column) for name, column in texts.items()}
            outputs = plain.signatures[way](**tensors)
            arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
            _same(saved_model.split_rows(arrays, len(TEXTS)), wanted)
    finally:
        server.process.terminate()
        server.process.wait()


def test_a_head_that_is_not_there_is_refused(saved):
    model = saved.model("heads")
    with pytest.raises(UserError, match=r"no such head; there are: .*topics"):
        model.answer({"text": ["a"], "head": ["topic"]})


def test_weights_are_there_once(joined, on):
    there = tf.train.list_variables(str(joined / "variables" / "variables"))
    sizes = [np.prod(shape, dtype=int) for name, shape in there if name.startswith("weights/")]
    backbone = [weight.shape for weight in loading.load(on).model.weights]
    whole = sum(np.prod(shape, dtype=int) for shape in backbone)
    assert sum(1 for size in sizes if size == np.prod(backbone[0], dtype=int)) == 1
    assert whole < sum(sizes) < 2 * whole


def test_frozen_heads_share_a_pass_and_lora_does_not(runs):
    models = [storage.load(Path(run)) for run in runs.values()]
    shared_pass.share(models)
    found = shared_pass.passes([Head(m.experiment.name, m) for m in models])
    shared = [[head.name for head in one.heads] for one in found if one.below is not None]
    assert shared == [["ups", "price"]]


def test_warm_up_requests_cover_all_signatures(joined):
    from tfnlp.deployment import warmup

    there = warmup.read(joined)
    assert not there.fault
    asked = {request.signature for request in there.requests}
    assert asked == {*KINDS, "serving_default", "all", "heads"}


def test_the_card_tells_of_all(joined):
    card = (joined / "README.md").read_text("utf-8")
    assert all(f"| {name} |" in card for name in KINDS)
    assert "once for `ups`, `price`" in card
    assert "0.5000 (test)" in card


def test_a_head_is_added_and_withdrawn(runs, alone, joined, tmp_path, capsys):
    there = tmp_path / "both"
    shutil.copytree(joined.parent, there)
    without = ["--without", "names", "--without", "price", "--without", "topics"]
    argv = [str(there), f"情感={runs['moods']}", "--join", *without]
    assert export.main(argv) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(there / "2")
    saved = saved_model.opened(there / "2", "float32")
    assert saved.signatures == {"serving_default", "classify", "ups", "情感", "all", "heads"}
    for name, run in (("ups", "ups"), ("情感", "moods")):
        _same(saved.model(name).answer({"text": TEXTS}), alone[run])
    heads = json.loads((there / "2" / "heads.json").read_text("utf-8"))["heads"]
    assert [head["name"] for head in heads] == ["ups", "情感"]


def test_a_run_on_another_backbone_is_refused(runs, tmp_path):
    other = small.backbone(tmp_path / "other", seed=1)
    run = small.run(tmp_path / "run", "other", "classification", other)
    with pytest.raises(UserError, match=r"is on the backbone .*other, and .*one backbone"):
        export.main([runs["topics"], run, "--join", "--name", "both"])


def test_a_run_that_was_trained_again_is_not_taken_for_the_one_before(joined, tmp_path):
    there = tmp_path / "all" / "1"
    there.mkdir(parents=True)
    (there / "saved_model.pb").write_bytes(b"")
    heads = json.loads((joined / "heads.json").read_text("utf-8"))
    for head in heads["heads"]:
        head["run"], head["digest"] = str((joined.parent / head["run"]).resolve()), "other"
    (there / "heads.json").write_text(json.dumps(heads))
    with pytest.raises(UserError, match="is not the run that the head 'names' was made of"):
        export.main([str(tmp_path / "all"), "--join", "--without", "topics"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{topics}", "{topics}"], "two of the runs are named 'topics'"),
        (["all={topics}", "{moods}"], "is named 'all', as another signature is"),
        (["{topics}", "--without", "moods"], "there is no head 'moods' to leave out; topics"),
        (["{topics}", "--without", "topics"], "no head would be left"),
        (["{topics}", "--min-score", ".1"], "--min-score is about triples"),
        (["{topics}", "nowhere"], "nowhere holds no trained model"),
    ],
)
def test_mistakes(arguments, message, runs):
    argv = [each.format(**runs) for each in arguments]
    with pytest.raises(UserError, match=re.escape(message)):
        export.main([*argv, "--join", "--name", "x"])


def test_a_head_explains_itself(runs, on, tmp_path):
    ner = small.run(tmp_path / "names", "names", "ner", on)
    place = ["--saved-models", str(tmp_path), "--export-explain", "--explain-by", "gradient_input"]
    assert export.main([runs["topics"], ner, "--join", "--name", "all", *place]) == 0
    found = saved_model.opened(tmp_path / "all" / "1", "float32")
    answer, plain = (
        found.model(n).answer({"text": TEXTS[:1]})[0] for n in ("topics_explain", "topics")
    )
    assert answer["label"] == plain["label"]
    assert "names_explain" not in found.signatures  # no one answer to a text
    assert export.main([str(tmp_path / "all"), "--join", "--without", "names"]) == 0
    assert "topics_explain" in saved_model.opened(tmp_path / "all" / "2", "float32").signatures
    with pytest.raises(UserError, match="one answer to a text"):
        export.main([ner, *place])
