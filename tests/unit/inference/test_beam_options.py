"""The options of a Beam runner, read without Beam."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from tfnlp import predict
from tfnlp.runtime import exit_status

main = partial(exit_status.status, predict.main)


def test_an_option_of_the_runner_has_a_name(capsys):
    arguments = ["length", "--input", "a.txt", "--output", "x", "--runner", "DirectRunner"]
    assert main([*arguments, "--runner-option", "streaming", "--runner-option", "a b=c"]) == 2
    error = capsys.readouterr().err
    assert error == "error: --runner-option 'a b=c' is not of the form KEY=VALUE\n"


def test_options_without_a_runner_are_refused(capsys):
    for option in (["--shards", "2"], ["--runner-option", "a=b"]):
        assert main(["length", "text", *option]) == 2
        assert "are for --runner, such as DirectRunner" in capsys.readouterr().err


def test_help_imports_neither_beam_nor_tensorflow():
    code = (
        "import sys, tfnlp.predict as p\n"
        "unwanted = {'apache_beam', 'tensorflow', 'tfnlp.inference.beam'}\n"
        "try: p.main(['--help'])\n"
        "finally: assert not unwanted & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert shown.returncode == 0, shown.stderr
    assert "--runner RUNNER" in shown.stdout
