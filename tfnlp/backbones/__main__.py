"""``python -m tfnlp.backbones``: list the backbones that install by name."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from tfnlp.backbones import entry
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Print the catalog as a table."""
    parser = Parser(
        prog="python -m tfnlp.backbones",
        description="List the pretrained backbones that install by name (--backbone NAME).",
        epilog="--backbone also takes a KerasHub preset (bert_base_en_uncased), hf://owner/model, "
        "kaggle://…,\nor a local folder in KerasHub or Hugging Face layout.",
    )
    parser.parse(argv)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "kind", "parameters", "languages", "licence", "download", "cached"):
        right = column in ("parameters", "download")
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "name")
    table.add_column("what it is")
    for name in entry.names():
        found = entry.find(name)
        table.add_row(
            name,
            found.kind,
            f"{found.parameters / 1e6:.1f} M",
            found.languages,
            f"weights {found.weights_licence}; package {found.package_licence}",
            f"{found.megabytes} MB",
            "yes" if entry.model_folder(name, found).exists() else "no",
            found.summary,
        )
    Console(width=None if Console().is_terminal else 160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
