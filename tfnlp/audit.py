"""python -m tfnlp.audit: check a model for what is wrong with it; fails if a bound is crossed."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.errors import UserError
from pipelines.files.writers import check_folder
from tfnlp import extensions
from tfnlp.api import auditing
from tfnlp.api.auditing import Options
from tfnlp.cli import arguments, audit_files, console, entries
from tfnlp.extensions import Audit, consent
from tfnlp.inference.saved_model import SAVED_MODELS
from tfnlp.options import Parser, add_flags, make, values_of
from tfnlp.runtime import exit_status, signals


def main(argv: list[str]) -> int:
    """Audit the model that the arguments name; 1 if a bound is crossed."""
    there = extensions.names(Audit)
    parser = Parser(
        prog="python -m tfnlp.audit",
        description="Check a model on rows with known answers. Exit status: 0 if all bounds hold, "
        "1 if one is crossed,\n2 if the command line is wrong.",
    )
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help=f"a run's folder, a SavedModel's folder or its name in {SAVED_MODELS}/, or a server's "
        "http://HOST:8501/v1/models/NAME",
    )
    parser.add_argument(
        "--check",
        action="append",
        metavar="CHECK",
        help=f"what to check: {', '.join(there)}, or your own module; may be repeated (default: "
        "all that suit the model)",
    )
    consent.add_flag(parser)
    group = add_flags(parser, "options", Options, "rows, bounds and report")
    arguments.add_column_flags(group, arguments.every_column())
    named = entries.named(argv, "--check")
    checks = entries.add(parser, Audit, named or there)
    flags = vars(parser.parse(argv))
    values = values_of(flags, "options")
    values["columns"] = {**values.get("columns", {}), **values_of(flags, "column")}
    options = make(Options, values, "the command line")
    if options.test is None:
        raise UserError("nothing to check the model on (give --test FILE)")
    auditing.bounds_of(checks, options.bounds)
    place = options.output or auditing.folder_of(flags["subject"], options.test)
    target = Path(place)
    check_folder(target, audit_files.PAGE)
    with signals.caught("") as caught:
        from tfnlp.runs import subject as subjects

        subject = subjects.load(flags["subject"], options.batch_size, caught.holding)
        plugged = [(check, entries.options(check, flags)) for check in checks]
        done = auditing.audit(subject, plugged, options, named=bool(named))
    done.write(target)
    console.line(f"{done.about['model']} on {done.about['rows']} rows of {done.about['data']}")
    console.tables(done.report)
    console.line(f"report: {target / audit_files.PAGE}")
    return int(not done.passed)


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
