"""`import tfnlp`: eight names, none of which costs anything before it is used."""

import inspect
import subprocess
import sys
import typing

import pytest

import tfnlp

NAMES = ["Model", "Report", "UserError", "available", "fit", "load", "open", "run_study"]
# Modules that share a name, or half of one, with a function.
MODULES = ["train", "study", "evaluate", "report"]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names_are_public_and_are_there():
    assert sorted(tfnlp.__all__) == NAMES
    assert set(NAMES) <= set(dir(tfnlp))
    for name in NAMES:
        assert getattr(tfnlp, name).__doc__
    with pytest.raises(AttributeError, match="module 'tfnlp' has no attribute 'fitt'"):
        tfnlp.fitt  # noqa: B018


def test_importing_loads_nothing_else():
    told = run(
        "import sys; before = set(sys.modules); import tfnlp\n"
        "print({m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert told.strip() == "{'tfnlp'}"


def test_listing_and_mistakes_load_no_tensorflow():
    told = run(
        "import sys, tfnlp\n"
        "for kind in ('tasks', 'backbones', 'datasets', 'peft', 'studies', 'applications'):\n"
        "    assert all(tfnlp.available(kind).values()), kind\n"
        "for mistake in (lambda: tfnlp.fit('a.csv', epoch=3), lambda: tfnlp.available('task'),\n"
        "                lambda: tfnlp.load('a'), lambda: tfnlp.open('a')):\n"
        "    try: mistake()\n"
        "    except tfnlp.UserError as error: print(error)\n"
        "print([m for m in ('tensorflow', 'keras', 'pandas') if m in sys.modules])"
    ).splitlines()
    assert told[0] == "fit() has no option 'epoch'; did you mean 'epochs'?"
    assert told[1] == "tfnlp has no kind 'task'; did you mean 'tasks'?"
    assert told[-1] == "[]"
    assert len(told) == 5


@pytest.mark.parametrize("module_first", [True, False])
def test_modules_and_functions_do_not_replace_one_another(module_first):
    modules = "".join(f"import tfnlp.{name}\n" for name in MODULES)
    functions = "import tfnlp; tfnlp.fit, tfnlp.run_study, tfnlp.Report, tfnlp.load\n"
    both = (modules + functions) if module_first else (functions + modules)
    told = run(
        f"{both}print([type(getattr(tfnlp, n)).__name__ for n in {MODULES!r}], "
        "[callable(getattr(tfnlp, n)) for n in tfnlp.__all__])"
    )
    assert told.strip() == f"{['module'] * len(MODULES)} {[True] * len(NAMES)}"


def test_an_editor_sees_every_argument_with_its_type():
    for name in ("fit", "load", "open", "available", "run_study"):
        function = getattr(tfnlp, name)
        hints = typing.get_type_hints(function)
        for parameter in inspect.signature(function).parameters:
            assert parameter in hints, (name, parameter)
        assert "return" in hints
