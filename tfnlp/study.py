"""python -m tfnlp.study: train several runs and compare them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tfnlp import extensions
from tfnlp.cli import arguments, console, entries, study_table
from tfnlp.cli.settings import Given
from tfnlp.extensions import Study, Trial
from tfnlp.options import Parser
from tfnlp.report import Report
from tfnlp.runs import studies, study_files
from tfnlp.runtime import commands, exit_status, signals


def main(argv: list[str]) -> int:
    """Run the study that the arguments describe."""
    there = extensions.names(Study)
    name = argv[0] if argv and not argv[0].startswith("-") else None
    parser = Parser(
        prog="python -m tfnlp.study",
        usage=f"%(prog)s {name or 'STUDY'} [--resume | --show] [--name NAME] [option ...]",
        description="Train several runs, each in a process of its own, and compare them. The "
        "results go to\nstudies/NAME: best.yaml, trials.csv and report.html; the runs are where "
        "runs always are.",
    )
    parser.add_argument(
        "study", metavar="STUDY", help=f"{', '.join(there)}, or your own module; it stands first"
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume the study of this name, if there is one"
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="print the trials and what was found so far; train nothing",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="a database that keeps the trials, for processes on machines that share no folder: "
        "postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE (default: the study's folder)",
    )
    found = entries.add(parser, Study, [name] if name else [])
    begun, flags, own = arguments.read(argv, parser)
    if not found:
        parser.error(f"the study stands first: python -m tfnlp.study {there[0]} ...")
    (entry,) = found
    given = Given(begun, flags)
    options = entries.options(entry, own)
    asked = study_files.Asked(
        entry.name, entry.record, options, given.experiment(), given.vary, own["storage"]
    )
    with signals.caught("; run the same command with --resume to continue"):
        if own["show"]:
            asked = study_files.kept(asked)
            trials, report = studies.shown(asked)
            console.out.print(study_table.StudyTable(asked, trials).draw())
        else:
            with study_table.live(asked) as drawn:
                tell = (lambda text: None) if drawn else console.line
                trials, report = studies.run(asked, resume=own["resume"], tell=tell)
    return _finish(asked, trials, report)


def _finish(asked: study_files.Asked, trials: Sequence[Trial], report: Report) -> int:
    """Print what was found and what may come next; returns the exit status."""
    console.tables(report)
    if (asked.folder / "report.html").exists():  # not where another machine's trials are shown
        console.line(f"report: {asked.folder / 'report.html'}")
    best = study_files.best(asked, trials)
    if best is None:
        if any(trial.state == "running" for trial in trials):
            console.line("no trial has ended yet")
            return 0
        console.warn("no trial has ended; each says why in its .err file")
        return 1
    minutes = sum(trial.seconds for trial in trials) / 60
    console.line(f"best of {len(trials)} trials in {minutes:.0f} min: {best.run}")
    if best.run is not None and best.run.exists():  # not on another machine
        console.line(f"    {commands.command('tfnlp.export', best.run)}")
    config = asked.folder / "best.yaml"
    console.line(f"    {commands.command('tfnlp.train', '--config', config)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
