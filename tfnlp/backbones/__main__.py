"""``python -m tfnlp.backbones``: list the backbones that install by name."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from tfnlp.backbones import entry, feature_files
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Print the catalog as a table, or empty the cache of features."""
    parser = Parser(
        prog="python -m tfnlp.backbones",
        description="List the pretrained backbones that install by name (--backbone NAME).",
        epilog="--backbone also takes a KerasHub preset (bert_base_en_uncased), hf://owner/model, "
        "kaggle://…,\nor a local folder in KerasHub or Hugging Face layout.",
    )
    parser.add_argument(
        "--empty-features",
        action="store_true",
        help="delete what frozen layers returned for texts, which training keeps in the cache",
    )
    if vars(parser.parse(argv))["empty_features"]:
        print(f"{feature_files.empty() / 1e6:.1f} MB deleted in {feature_files.folder()}")
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    numbers = ("parameters", "download", "step", "memory")
    for column in ("name", "kind", "languages", "licence", *numbers, "cached"):
        right = column in numbers
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "name")
    table.add_column("what it is")
    for name in entry.names():
        found = entry.find(name)
        table.add_row(
            name,
            found.kind,
            found.languages,
            f"weights {found.weights_licence}; package {found.package_licence}",
            f"{found.parameters / 1e6:.1f} M",
            f"{found.megabytes} MB",
            f"{found.step_seconds:.1f} s",
            f"{found.training_megabytes / 1e3:.1f} GB",
            "yes" if entry.model_folder(name, found).exists() else "no",
            found.summary,
        )
    console = Console(width=None if Console().is_terminal else 180)
    console.print(table)
    console.print(
        "\nstep: processor time of a training step of 32 rows of 32 tokens in float32, all weights "
        "trained; on two free cores half of it passes.\nmemory: the most that the process takes "
        "meanwhile (python benchmarks/backbones.py)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
