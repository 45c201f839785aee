from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from tfnlp import options
from tfnlp.options import Parser, add_flags, make, option, plain, values_of

SETTINGS = settings(deadline=None)  # the machine may be busy


@dataclass(frozen=True)
class Section:
    """Options."""

    size: int = option(32, "rows in a batch [rows]", minimum=1, maximum=100)
    rate: float = option(0.5, "a rate, 100% at most", minimum=0.0, maximum=1.0)
    kind: Literal["one", "two"] = option("one", "which kind")
    fast: bool = option(True, "whether to hurry")
    file: str | None = option(None, "a file")
    layers: int | None = option(None, "layers [layers]", minimum=1)
    separator: str = option("|", "what separates", minimum=1)
    columns: dict[str, str] = option({}, "headers", flag="--column")
    words: tuple[str, ...] = option((), "words", flag="--word", metavar="WORD", minimum=1)
    sizes: tuple[int, ...] = option((), "sizes", minimum=1)
    kinds: tuple[Literal["one", "two"], ...] = option(("one", "two"), "some")
    free: float = option(0.0, "any number")
    note: str = option("", "what may be empty")


def parsed(*argv: str) -> dict:
    parser = Parser(prog="it")
    add_flags(parser, "section", Section, "options")
    values = vars(parser.parse(list(argv)))
    return {key.removeprefix("section."): value for key, value in values.items()}


def refused(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        parsed(*argv)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def faulty(**values: object) -> str:
    with pytest.raises(UserError) as caught:
        make(Section, values, "section in a.yaml")
    return str(caught.value)


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(1, 100),
        "rate": st.floats(0, 1, allow_subnormal=False, width=32),
        "kind": st.sampled_from(["one", "two"]),
        "fast": st.booleans(),
        "file": st.text(min_size=1).filter(lambda text: not text.startswith("-")),
        "layers": st.integers(1, 2**31 - 1),
        "separator": st.text(min_size=1).filter(lambda text: not text.startswith("-")),
        "columns": st.dictionaries(
            st.text("abc_", min_size=1), st.text().filter(lambda t: not t.startswith("-"))
        ),
        "words": st.lists(st.text(min_size=1).filter(lambda t: not t.startswith("-"))),
    },
)


def flags_of(values: dict) -> list[str]:
    argv = []
    for name, value in values.items():
        if name == "columns":
            argv += [word for k, v in value.items() for word in ("--column", f"{k}={v}")]
        elif name == "words":
            argv += [word for text in value for word in ("--word", text)]
        elif name == "fast":
            argv.append("--fast" if value else "--no-fast")
        else:
            argv += [f"--{name}", str(value)]
    return argv


@SETTINGS
@given(VALUES)
def test_flags_give_what_was_written_and_nothing_else(values):
    expected = {name: value for name, value in values.items() if value not in ({}, [])}
    assert parsed(*flags_of(values)) == expected


@SETTINGS
@given(VALUES)
def test_sections_become_plain_values_and_back(values):
    made = make(Section, values, "here")
    assert make(Section, plain(made), "here") == made
    assert plain(made) == {**plain(Section()), **values}


def test_a_list_is_a_flag_given_several_times_and_in_yaml_a_list_a_text_or_nothing():
    assert parsed("--word", "a, b", "--word=c||d") == {"words": ["a, b", "c||d"]}
    assert make(Section, {"words": ["a", "b"]}, "here").words == ("a", "b")
    assert make(Section, {"words": "a||b"}, "here").words == ("a||b",)
    assert make(Section, {"words": None}, "here").words == ()
    assert yaml.safe_load(yaml.safe_dump(plain(Section(words=("a", "b")))))["words"] == ["a", "b"]


def test_flags_may_stand_between_what_has_none():
    parser = Parser(prog="it")
    parser.add_argument("model")
    parser.add_argument("texts", nargs="*", default=[])
    add_flags(parser, "section", Section, "options")
    flags = vars(parser.parse(["m", "a", "--size", "3", "b", "--", "-c"]))
    assert (flags["model"], flags["texts"]) == ("m", ["a", "b", "-c"])
    assert values_of(flags, "section") == {"size": 3}


def test_defaults_are_not_shared():
    make(Section, {}, "here").columns["a"] = "b"
    assert Section().columns == {}


def test_an_unknown_flag_is_an_error_with_a_suggestion(capsys):
    assert "did you mean --size?" in refused(capsys, "--sise", "3")
    assert "did you mean --size?" in refused(capsys, "--sise=3")
    assert "no option '--si'" in refused(capsys, "--si", "3")  # no abbreviations
    assert "no option 'stray'" in refused(capsys, "stray")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--learning_rate", "--learning-rate"),
        ("--batchsize", "--batch-size"),
        ("--num_train_epochs", "--epochs"),
        ("-lr", "--learning-rate"),
        ("--zzz", None),
    ],
)
def test_a_flag_is_known_by_its_initials_its_spelling_or_its_last_word(word, meant):
    known = ["-h", "--help", "--learning-rate", "--layer-decay", "--batch-size", "--epochs"]
    assert options.meant(word, known) == meant


def test_an_unknown_key_is_an_error_with_a_suggestion():
    assert faulty(sise=3) == "section in a.yaml has no option 'sise'; did you mean 'size'?"
    assert "it has: size, rate, kind" in faulty(zzzzz=3)
    with pytest.raises(UserError, match="no option 3"):
        make(Section, {3: "x"}, "here")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--size", "0", "0 is too small; the smallest value allowed is 1"),
        ("--size", "101", "101 is too large; the largest value allowed is 100"),
        ("--size", "1.5", "'1.5' is not a whole number"),
        ("--size", "", "'' is not a whole number"),
        ("--rate", "-0.1", "-0.1 is too small; the smallest value allowed is 0.0"),
        ("--rate", "nan", "nan is not a finite number"),
        ("--rate", "inf", "inf is not a finite number"),
        ("--rate", "half", "'half' is not a number"),
        ("--kind", "three", "'three' is not one of: one, two"),
        ("--rate", "1e-300", "1e-300 is taken as 0 (give 0, or at least 1.2e-38)"),
        ("--free", "1e300", "1e+300 is too large; the largest value allowed is 3.4028234e+38"),
        ("--free", "-1e300", "-1e+300 is too small"),
        ("--layers", "0", "0 is too small"),
        ("--layers", str(10**30), "is too large; the largest value allowed is 2147483647"),
        ("--separator", "", "it must not be empty"),
        ("--word", "", "it must not be empty"),
        ("--file", "", "it must not be empty"),
    ],
)
def test_a_flag_out_of_range_is_named(capsys, flag, value, said):
    message = refused(capsys, f"{flag}={value}")
    assert f"argument {flag}: " in message
    assert said in message


def test_a_pair_needs_an_equals_sign(capsys):
    assert "--column takes NAME=VALUE, not 'text'" in refused(capsys, "--column", "text")
    assert "--column takes NAME=VALUE, not '=text'" in refused(capsys, "--column", "=text")
    assert parsed("--column", "text=a=b") == {"columns": {"text": "a=b"}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 0}, "size: 0 is too small"),
        ({"size": True}, "size: True is not a whole number"),
        ({"size": 1.0}, "size: 1.0 is not a whole number"),
        ({"size": "3"}, "size: '3' is not a whole number"),
        ({"size": None}, "size: None is not a whole number"),
        ({"rate": "fast"}, "rate: 'fast' is not a number"),
        ({"rate": math.nan}, "rate: nan is not a finite number"),
        ({"rate": 10**400}, "rate: inf is not a finite number"),
        ({"rate": True}, "rate: True is not a number"),
        ({"fast": 1}, "fast: 1 is not true or false"),
        ({"file": 3}, "file: 3 is not a text"),
        ({"kind": ["one"]}, "kind: ['one'] is not a text"),
        ({"columns": ["a"]}, "columns: ['a'] is not a mapping"),
        ({"words": 3}, "words: 3 is not a list of texts"),
        ({"words": {"a": "b"}}, "words: {'a': 'b'} is not a list of texts"),
        ({"words": ["a", 3]}, "words: 3 is not a text"),
        ({"words": [""]}, "words: it must not be empty"),
        ({"file": ""}, "file: it must not be empty"),
        ({"kinds": ["one", "three"]}, "kinds: 'three' is not one of: one, two"),
        ({"kinds": "one,two"}, "kinds: 'one,two' is not one of: one, two"),
        ({"sizes": "1,2"}, "sizes: '1,2' is not a list of whole numbers"),
        ({"sizes": [1, 0]}, "sizes: 0 is too small"),
        ({"sizes": [2**31]}, "sizes: 2147483648 is too large"),
        ({"sizes": ["1"]}, "sizes: '1' is not a whole number"),
        ({"columns": {"text": 3}}, "columns: {'text': 3} is not a mapping from names to names"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_named(values, said):
    assert faulty(**values).startswith(f"section in a.yaml: {said}")


def test_yaml_numbers_are_taken_as_they_are_meant():
    assert make(Section, {"rate": "1e-4"}, "here").rate == 1e-4  # YAML reads 1e-4 as a string
    assert make(Section, {"note": ""}, "here") == Section()
    whole = make(Section, {"rate": 1}, "here").rate
    assert isinstance(whole, float)
    assert make(Section, {"file": None, "layers": None}, "here").layers is None


def test_help_shows_each_option_once_with_its_default():
    parser = Parser(prog="it")
    add_flags(parser, "section", Section, "options")
    shown = " ".join(parser.format_help().split())
    assert "--size INT rows in a batch [rows] (default: 32)" in shown
    assert "--rate FLOAT a rate, 100% at most (default: 0.5)" in shown
    assert "--kind {one,two} which kind (default: one)" in shown
    assert "--fast, --no-fast whether to hurry (default: yes)" in shown
    assert "--column NAME=VALUE headers" in shown
    assert "--word WORD words" in shown


def test_numbers_and_choices_may_be_given_at_once_and_again(capsys):
    parser = Parser()
    add_flags(parser, "section", Section, "options")
    line = ["--sizes", "1,2", "--word", "a,b", "--sizes", "3", "--kinds", "two,one"]
    found = {key.removeprefix("section."): v for key, v in vars(parser.parse(line)).items()}
    assert found == {"sizes": [1, 2, 3], "words": ["a,b"], "kinds": ["two", "one"]}
    with pytest.raises(SystemExit):
        parser.parse(["--kinds", "one,three"])
    assert "--kinds: 'three' is not one of: one, two" in capsys.readouterr().err
    assert make(Section, {"sizes": [1, 2]}, "here").sizes == (1, 2)
    with pytest.raises(SystemExit):
        parser.parse(["--sizes", "1,few"])
    assert "--sizes: 'few' is not a whole number" in capsys.readouterr().err


def test_two_options_of_one_flag_are_a_mistake():
    @dataclass(frozen=True)
    class Section:
        rate: float = option(0.5, "how much")

    parser = Parser(prog="it")
    add_flags(parser, "one", Section, "one", prefix="own-")
    with pytest.raises(UserError, match=r"^two: conflicting option string: --own-rate \(rename"):
        add_flags(parser, "two", Section, "two", prefix="own-")
