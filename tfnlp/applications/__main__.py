"""python -m tfnlp.applications: applications built on exported models, by lines or over HTTP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pipelines import discover
from pipelines.errors import UserError
from pipelines.files.writers import json_text
from pipelines.locks import held
from tfnlp.application import Application, Conversation, load
from tfnlp.applications import _events
from tfnlp.inference import outputs, remote, saved_model
from tfnlp.inference.saved_model import SAVED_MODELS, ServedModel
from tfnlp.options import Parser, add_flags, make, unknown_key
from tfnlp.runtime import exit_status
from tfnlp.runtime.signals import Signals, caught

HOST, PORT = "127.0.0.1", 8600
STATE = Path("application_state")


def main(argv: list[str]) -> int:
    """Open an application and have it answer events, or list the applications."""
    name = argv[0] if argv and not argv[0].startswith("-") else None
    application = load(name) if name else None
    parser = _parser(name, application)
    args = parser.parse(argv)
    if name is None or application is None:
        if argv:
            raise UserError(f"the application's name comes first ({parser.prog} lists them)")
        parser.print_help()
        return 0
    _check(args)
    sources = _sources(args.model, name, application.models)
    flags = {key.removeprefix("own."): v for key, v in vars(args).items() if key[:4] == "own."}
    options = make(application.options, flags, "the command line")
    with caught("") as signals, _locked(args.state or _state(name)) as folder:
        models = {role: _model(role, source, application) for role, source in sources.items()}
        with closing(application.open(options, models, folder)) as conversation:
            if args.serve:
                from tfnlp.applications import _web

                app = _web.application(conversation, application.routes(conversation))
                _web.serve(app, args.host or HOST, PORT if args.port is None else args.port)
            else:
                _answer_lines(conversation, signals)
    return 0


def _parser(name: str | None, application: Application | None) -> Parser:
    """Return the command's options, with those of the application that is asked for."""
    if application:
        roles = "; ".join(
            f"{role} is a model that answers with {answer}"
            for role, answer in application.models.items()
        )
        lines = "\n".join(f"  {json_text(event)}" for event in application.sample)
        epilog = f"Events to try, one a line:\n{lines}"
    else:
        roles = "a model and what it is for (NAME --help names the roles)"
        known = {entry: load(entry).summary for entry in discover.names("tfnlp.applications")}
        listed = "\n".join(f"  {entry:<18} {summary}" for entry, summary in known.items())
        epilog = f"Applications, each with options of its own (NAME --help):\n{listed}"
    parser = Parser(
        prog="python -m tfnlp.applications",
        description="Have an application answer events, which are lines of JSON, or plain texts: "
        "from standard\ninput to standard output, or over HTTP (--serve, POST /events).",
        epilog=epilog,
    )
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="an application, or your own module")
    add(
        "--model",
        metavar="ROLE=MODEL",
        type=_pair,
        action="append",
        default=[],
        help=f"{roles}; MODEL is a SavedModel's folder, a name in {SAVED_MODELS}/ or a server's "
        "http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME; once for each role",
    )
    add(
        "--state",
        metavar="FOLDER",
        type=Path,
        help=f"what it keeps between conversations (default: {STATE}/NAME)",
    )
    add("--serve", action="store_true", help="answer over HTTP until SIGINT or SIGTERM")
    add("--host", help=f"address to listen on with --serve; 0.0.0.0 for all (default: {HOST})")
    add("--port", type=int, help=f"its port; 0 is any that is free (default: {PORT})")
    if application:
        add_flags(parser, "own", application.options, f"{name}: {application.summary}")
    return parser


def _pair(text: str) -> tuple[str, str]:
    role, sign, source = text.partition("=")
    if not (role and sign and source):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ROLE=MODEL")
    return role, source


def _check(args: argparse.Namespace) -> None:
    """Raise UserError for an address that cannot be served; warn of one that others can reach."""
    for flag, value in (("--host", args.host), ("--port", args.port)):
        if value is not None and not args.serve:
            raise UserError(f"{flag} {value} is given without --serve (add it)")
    if not 0 <= (args.port or 0) < 2**16:
        raise UserError(f"--port {args.port} is not a port (0 to 65535)")
    if args.host not in (None, HOST, "localhost", "::1"):
        print(
            f"warning: {args.host} can be reached from other machines, and anyone may ask and "
            "add (put a proxy that asks who they are before it)",
            file=sys.stderr,
        )


def _sources(
    pairs: Sequence[tuple[str, str]], name: str, roles: Mapping[str, str]
) -> dict[str, str]:
    """Return where the model of each role is: a SavedModel's folder, or a server's address.

    Raises:
        UserError: a role is unknown, is given twice, or has no model; or a model is not there.
    """
    sources = dict(pairs)
    unknown_key(sources, list(roles), f"the application {name}", "role")
    for role, answer in roles.items():
        if role not in sources:
            raise UserError(
                f"{name} asks a model that answers with {answer}; give it as --model "
                f"{role}=SAVEDMODEL"
            )
    if len(pairs) > len(sources):
        raise UserError("--model names a role twice (give one model for each role)")
    return {
        role: source if remote.is_address(source) else str(saved_model.find_model(source))
        for role, source in sources.items()
    }


def _state(name: str) -> Path:
    """Return the folder of an application's state if the user names none."""
    return STATE / name.replace("-", "_")


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Make a folder and lock it for this process; yields the folder.

    Raises:
        UserError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = f"{folder} is in use by another process (end that one, or use --state FOLDER)"
    with held(folder, taken):
        yield folder


def _model(role: str, source: str, application: Application) -> ServedModel:
    """Return a model that is ready, after it has answered once as its role wants.

    Raises:
        UserError: it cannot be loaded or reached, or gives other answers.
    """
    on_server = remote.is_address(source)
    saved = remote.opened(source) if on_server else saved_model.opened(Path(source))
    model, wanted = saved.model(), application.models[role]
    (answer,) = model.answer({name: ["A text."] for name in model.inputs})
    if wanted not in answer:
        raise UserError(
            f"--model {role}={source}: that model answers with {', '.join(answer)}, not with "
            f"{wanted} (give one that does)"
        )
    return model


def _answer_lines(conversation: Conversation, signals: Signals) -> None:
    """Answer the lines of standard input on standard output, each at once."""
    if sys.stdin.isatty():
        print("a text or an event in JSON a line; Ctrl-D ends", file=sys.stderr)
    with outputs.opened(None) as out:
        for number, line in enumerate(sys.stdin.buffer, 1):
            with signals.held():  # the event in hand is answered
                for answer in _events.answers(conversation, number, line):
                    out.write(f"{json_text(answer)}\n")
                    out.flush()


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
