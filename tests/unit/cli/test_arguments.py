from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines import discover
from pipelines.errors import UserError
from tfnlp import task
from tfnlp.cli import arguments
from tfnlp.config import SECTIONS, Experiment
from tfnlp.options import Parser
from tfnlp.runs.experiment_yaml import from_values, read_yaml, write_yaml

TASKS = discover.names("tfnlp.tasks")


def parse(*argv: str) -> Experiment:
    return arguments.parse(list(argv), Parser(prog="it"))[0]


def error(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(*argv)
    return str(caught.value)


@pytest.fixture
def file(tmp_path):
    def write(values: object) -> str:
        path = tmp_path / "a.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), "utf-8")
        return str(path)

    return write


# Which value stands


@pytest.mark.parametrize("flag", ["task", "strategy", "peft", "augment", "config"])
def test_an_empty_name_is_not_taken_for_none(flag):
    assert error(f"--{flag}=") == (
        f"the command line: {flag} must not be empty (name one, or leave it out)"
    )


def test_without_arguments_the_main_job_is_meant():
    made = parse()
    assert (made.task, made.name, made.seed) == ("classification", "trec-classification", 42)
    assert made.data.dataset == "trec"
    assert made.backbone.name == "minilm-l6-en"
    for section, kind in SECTIONS.items():
        if section != "data":
            assert getattr(made, section) == kind()


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(file):
    path = file({"training": {"epochs": 7, "batch_size": 8}, "seed": 1, "name": "mine"})
    made = parse("--config", path, "--epochs", "9", "--seed", "3")
    assert (made.training.epochs, made.training.batch_size, made.training.patience) == (9, 8, None)
    assert (made.seed, made.name) == (3, "mine")
    assert parse("--config", path, "--name", "ours").name == "ours"


def test_the_file_names_the_task_unless_a_flag_does(file):
    assert parse("--config", file({"task": {"name": "regression"}})).task == "regression"
    assert parse("--config", file("task: regression")).task == "regression"  # the short form
    assert parse("--config", file("task: regression"), "--task", "classification").task == (
        "classification"
    )
    made = parse("--config", file({"task": {"name": "regression", "max_length": 64}}))
    assert made.options.max_length == 64


def test_files_of_the_user_take_the_place_of_a_data_set_and_back(file):
    path = file({"data": {"dataset": "trec"}})
    assert parse("--config", path, "--train", "b.csv").data.dataset is None
    path = file({"data": {"train": "b.csv", "test": "c.csv"}})
    made = parse("--config", path, "--dataset", "trec")
    assert (made.data.train, made.data.test, made.data.dataset) == (None, None, "trec")
    assert parse("--config", path).data.dataset is None


def test_headers_are_joined_from_the_file_and_both_kinds_of_flags(file):
    path = file({"data": {"train": "b.csv", "columns": {"text": "a", "label": "b"}}})
    made = parse("--config", path, "--label-column", "c", "--column", "text_a=d")
    assert made.data.columns == {"text": "a", "label": "c", "text_a": "d"}


def test_a_commands_own_options_are_given_apart():
    parser = Parser(prog="it")
    parser.add_argument("--resume", action="store_true")
    _, own = arguments.parse(["--resume", "--epochs", "1"], parser)
    assert own["resume"] is True


# What is refused


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trainin": {}}, "has no option 'trainin'; did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "has no option 'epoch'; did you mean 'epochs'?"),
        ({"task": {"name": "classification", "max_len": 3}}, "did you mean 'max_length'?"),
        ({"training": 3}, "training is 3; it must hold `option: value`"),
        ({"data": ["a"]}, "data is ['a']"),
        ({"task": ["a"]}, "task is ['a']"),
        ({"task": {"max_length": 64}}, "names no task"),
        ({"task": {"name": 3}}, "names no task"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"seed": "1"}, "seed is '1'"),
        ({"name": "a/b"}, "name is 'a/b'; it must be a plain folder name"),
        ({"name": ""}, "name is ''; it must be a plain folder name"),
        ({"name": ".."}, "name is '..'"),
        ({"name": 3}, "name is 3"),
        ({"data": {"columns": ["text"]}}, "columns: ['text'] is not a mapping"),
        ({"data": {"columns": {"txt": "a"}}}, "has no column 'txt'; did you mean 'text'?"),
        ({"data": {"label_separator": ""}}, "label_separator: it must not be empty"),
        ({"data": {"train": "a.csv", "dataset": "trec"}}, "--train and --dataset are both given"),
        ({"data": {"test": "a.csv"}}, "--validation or --test is given without --train"),
        ({"data": {"dataset": "trec", "test": "a.csv"}}, "which has splits of its own"),
        ("- a", "holds no experiment"),
        ("", "holds no experiment"),
        ("a: [", "is not YAML"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_a_file_that_makes_no_experiment_is_an_error_that_names_it(file, values, said):
    path = file(values)
    message = error("--config", path)
    assert said in message
    assert "\n" not in message
    assert path in message or "--" in message or "column" in message


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    assert "cannot read" in error("--config", str(tmp_path / "none.yaml"))
    assert "cannot read" in error("--config", str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    assert "latin.yaml is not YAML" in error("--config", str(tmp_path / "latin.yaml"))


def test_flags_that_make_no_experiment_are_refused():
    assert "did you mean 'classification'?" in error("--task", "clasification")
    assert "no module named" in error("--task", "no.such")
    assert "defines no TASK" in error("--task", "json.decoder")
    assert "both given" in error("--train", "a.csv", "--dataset", "trec")
    assert "without --train" in error("--test", "a.csv")
    assert "has splits of its own" in error("--dataset", "trec", "--test", "a.csv")
    assert "has no example data" in error("--task", "multi_label")
    assert "did you mean 'text'?" in error("--column", "txt=review")
    assert "seed is -1" in error("--seed", "-1")


def test_an_unknown_flag_suggests_the_one_that_was_meant(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("--epoch", "3")
    assert stopped.value.code == 2
    assert "did you mean --epochs?" in capsys.readouterr().err


# Names


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["--dataset", "tfds:glue/cola:1.0.0"], "glue-cola-1.0.0-classification"),
        (["--train", "/data/my file.train.csv.gz"], "my file-classification"),
        (["--train", ".csv"], "csv-classification"),
        (["--train", "天气.csv", "--task", "regression"], "天气-regression"),
    ],
)
def test_an_experiment_is_named_by_its_data_and_task(argv, name):
    assert parse(*argv).name == name


# The file that reproduces a run


def values_of(kind: type) -> st.SearchStrategy[dict]:
    """Valid values for some of a section's options."""
    found = {}
    for field in dataclasses.fields(kind):
        default = field.default if field.default is not dataclasses.MISSING else {}
        low, high = field.metadata["minimum"], field.metadata["maximum"]
        if isinstance(default, bool):
            found[field.name] = st.booleans()
        elif isinstance(default, float):
            found[field.name] = st.floats(low, 3e38 if high is None else high).filter(
                lambda value: not 0 < abs(value) < 2e-38
            )
        elif isinstance(default, int):
            found[field.name] = st.integers(int(low), int(high) if high else 10**9)
    return st.fixed_dictionaries({}, optional=found)


@example(strange="\x85")  # a line's end in YAML
@example(strange="\udce9.csv")  # a path that is not UTF-8
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(strange=st.text(min_size=1))
def test_any_text_survives_in_experiment_yaml(tmp_path, strange):
    made = parse("--train=a", f"--text-column={strange}", f"--label-separator={strange}")
    path = tmp_path / "experiment.yaml"
    write_yaml(made, path)
    assert parse("--config", str(path)) == made


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(data=st.data(), name=st.sampled_from(TASKS), seed=st.integers(0, 2**31 - 1))
def test_experiment_yaml_is_read_back_as_it_was_written(tmp_path, data, name, seed):
    chosen = task.load(name)
    text = st.text(min_size=1)
    values = {section: data.draw(values_of(kind)) for section, kind in SECTIONS.items()}
    values["data"] |= {"train": data.draw(text), "columns": data.draw(st.dictionaries(text, text))}
    values["data"]["label_separator"] = data.draw(text)
    values["task"] = {"name": name, **data.draw(values_of(chosen.options))}
    made = from_values({**values, "seed": seed, "name": "a"}, chosen.options, "here")
    path = tmp_path / "experiment.yaml"
    write_yaml(made, path)
    assert from_values(read_yaml(path), chosen.options, str(path)) == made
    assert [file.name for file in tmp_path.iterdir()] == ["experiment.yaml"]


def test_a_written_experiment_given_as_config_is_the_same_run(tmp_path):
    made = parse("--task", "regression", "--learning-rate", "3e-5", "--no-calibrate", "--pair")
    path = tmp_path / "experiment.yaml"
    write_yaml(made, path)
    assert parse("--config", str(path)) == made


# Help


def help_of(command: str, *argv: str) -> str:
    """Run a command's --help in a process and make sure that TensorFlow is not loaded."""
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['x', *{json.dumps([*argv, '--help'])}]\n"
        "try:\n"
        f"    runpy.run_module({command!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def options_of(kind: type) -> list[tuple[str, dataclasses.Field]]:
    return [
        (field.metadata["flag"] or "--" + field.name.replace("_", "-"), field)
        for field in dataclasses.fields(kind)
    ]


@pytest.mark.parametrize("name", TASKS)
def test_help_lists_every_option_once_with_its_default(name):
    shown = help_of("tfnlp.train", "--task", name)
    listed = " ".join(shown[shown.index("options:") :].split())
    chosen = task.load(name)
    for section, kind in {"task": chosen.options, **SECTIONS}.items():
        for flag, field in options_of(kind):
            assert len(re.findall(rf"^  {flag}[ ,]", shown, re.MULTILINE)) == 1, flag
            default = None if field.default is dataclasses.MISSING else field.default
            default = chosen.defaults.get(section, {}).get(field.name, default)
            if isinstance(default, bool):
                default = "yes" if default else "no"
            if default not in (None, ()):
                assert f"{field.metadata['help']} (default: {default})" in listed, flag
    for column in arguments.columns_of(task.load(name)):
        assert f"--{column.name.replace('_', '-')}-column HEADER" in listed


# What is plugged in


def test_peft_and_augment_are_read_back_as_they_were_written(tmp_path):
    made = parse("--peft", "bitfit", "--augment", "aeda", "--aeda-ratio", "0.2", "--epochs", "3")
    assert [(one.name, one.options.ratio) for one in made.augment] == [("aeda", 0.2)]
    assert made.peft.name == "bitfit"
    assert made.optimizer.learning_rate == 3e-3
    path = tmp_path / "experiment.yaml"
    write_yaml(made, path)
    assert parse("--config", str(path)) == made
    assert yaml.safe_load(path.read_text())["augment"] == [{"name": "aeda", "ratio": 0.2}]


def test_a_flag_beats_an_entrys_default():
    made = parse("--peft", "bitfit", "--learning-rate", "5e-4")
    assert made.optimizer.learning_rate == 5e-4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--peft", "bitfti"], "there is no peft 'bitfti'; did you mean 'bitfit'?"),
        (["--augment", "aeda", "--augment", "aeda"], "the augmenter aeda is named twice"),
        (["--augment", "aead"], "there is no augmenter 'aead'; did you mean 'aeda'?"),
        (["--augment", "aeda", "--task", "masked_lm"], "those of --task masked_lm have none"),
        (["--augment", "aeda", "--task", "language_model"], "those of --task language_model have"),
    ],
)
def test_entries_that_do_not_fit_are_refused(flags, message):
    assert message in error(*flags)


def test_help_shows_an_entrys_options_when_it_is_named(capsys):
    with pytest.raises(SystemExit):
        parse("--augment", "aeda", "--help")
    assert "--aeda-ratio" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parse("--help")
    assert "--aeda-ratio" not in capsys.readouterr().out
