"""The database that a study's processes share: its table, and what goes wrong on the way to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from pipelines.errors import UserError

PATIENCE = 600.0  # for a server that was there and is away [s]
PAUSE = 5.0  # between two attempts [s]
_FORMS = "postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE"
# Such that a connection which nobody answers is given up.
_LIMITS: dict[str, dict[str, Any]] = {
    "postgresql": {"connect_timeout": 10, "tcp_user_timeout": 30_000, "keepalives_idle": 15},
    "sqlite": {"timeout": 30},
}

TRIALS = sa.Table(
    "tfnlp_trials",
    sa.MetaData(),
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("settings", sa.Text, nullable=False),  # JSON, as all that is not flat
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("metrics", sa.Text),
    sa.Column("history", sa.Text),
    sa.Column("judged", sa.Text),
    sa.Column("seconds", sa.Float(53)),
    sa.Column("error", sa.Text),
    sa.Column("host", sa.Text),  # and the folder that the study was started in: HOST:FOLDER
    sa.Column("run", sa.Text),  # seen from there
    sa.Column("owner", sa.String(80), nullable=False),  # who has it; of row 0, the study's id
    sa.Column("beat", sa.DateTime(timezone=True)),  # when the owner was there last
)

_T = TypeVar("_T")


class Database:
    """A database, with a connection for each question, so that a lost one does no harm.

    Attributes:
        place: which, without user and password, for messages.
        patient: whether to wait for a server that is away.

    Args:
        url: SQLAlchemy's.
        tell: is called with a sentence where the server is away.

    Raises:
        UserError: the URL cannot be read, or there is no driver for it.

    Example::

        Database("sqlite:///trials.db", print).place  # "sqlite:///trials.db"
    """

    def __init__(self, url: str, tell: Callable[[str], None]) -> None:
        self._url, self._tell = _parsed(url), tell
        bare = self._url.set(username=None, password=None, query={})
        self.place = bare.render_as_string()
        self.patient = False
        dialect = self._url.get_backend_name()
        limits = _LIMITS.get(dialect, {})
        given = {k: v for k, v in limits.items() if k not in self._url.query}
        try:
            self._engine = sa.create_engine(
                self._url, poolclass=sa.pool.NullPool, connect_args=given
            )
        except sa.exc.NoSuchModuleError:
            raise UserError(
                f"--storage begins with {self._url.drivername}:, which names no database that "
                f"SQLAlchemy knows (write {_FORMS})"
            ) from None
        except ImportError as error:
            raise UserError(
                f"--storage {self.place} needs a driver that is not installed, {error.name} "
                "(pip install -e '.[search]' brings psycopg, for postgresql+psycopg:// URLs)"
            ) from error
        except (sa.exc.SQLAlchemyError, TypeError, ValueError) as error:
            raise self._sentence(error) from error

    def is_there(self) -> bool:
        """Return whether the database has the table; a file that is not there is not made.

        Raises:
            UserError: it cannot be used.
        """
        file = self._url.database or ""
        is_file = self._url.get_backend_name() == "sqlite" and not file.startswith("file:")
        if is_file and not Path(file).exists():
            return False
        return self.ask(self._has_table)

    def prepare(self) -> None:
        """Make the table where there is none.

        Raises:
            UserError: it cannot be used.
        """
        if not self.is_there():
            # Another process may make it at the same time.
            try:
                self.ask(TRIALS.create)
            except (UserError, sa.exc.IntegrityError):
                if not self.is_there():
                    raise

    def ask(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Return what a transaction gives; where the server is away, wait for it.

        Raises:
            UserError: the database cannot be used, or does not come back.
            sqlalchemy.exc.IntegrityError: there is such a row already.
        """
        end = time.monotonic() + PATIENCE
        told = False
        while True:
            try:
                return self.once(work)
            except sa.exc.IntegrityError:
                raise
            except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                sentence = self._sentence(error)
                if not self.patient:
                    raise sentence from error
                if time.monotonic() > end:
                    raise UserError(
                        f"{sentence}; what has ended here is kept, and sent by the same command "
                        "with --resume"
                    ) from error
                if not told:
                    self._tell(f"{sentence}; trying again for {PATIENCE / 60:.0f} minutes")
                told = True
                time.sleep(PAUSE)
            except sa.exc.SQLAlchemyError as error:
                raise self._sentence(error) from error

    def once(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Return what a transaction gives.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: as it comes.
        """
        with self._engine.begin() as connection:
            return work(connection)

    def _has_table(self, connection: sa.Connection) -> bool:
        if connection.dialect.name == "sqlite":
            # A file that lacks its end may be readable until the page that is not there.
            found = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar()
            if found != "ok":
                raise sa.exc.DatabaseError(None, None, Exception(str(found)))
        looked = sa.inspect(connection)
        if not looked.has_table(TRIALS.name):
            return False
        there = {column["name"] for column in looked.get_columns(TRIALS.name)}
        missing = [column.name for column in TRIALS.columns if column.name not in there]
        if missing:
            raise UserError(
                f"the table {TRIALS.name} in {self.place} has no column {', '.join(missing)}, so "
                "it is not one of this version's (give another database with --storage)"
            )
        return True

    def _sentence(self, error: Exception) -> UserError:
        """Return an error of the database as a sentence, in which the password is not."""
        said = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
        secrets = [self._url.password, self._url.query.get("password")]
        for secret in {str(each) for each in secrets if each}:
            said = said.replace(secret, "***")
        away = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        remedy = "see that it can be reached and written to" if away else "restore it from a copy"
        return UserError(
            f"cannot use the database {self.place}: {said} ({remedy}, or give another --storage)"
        )


def _parsed(text: str) -> sa.URL:
    """Return a URL; what cannot be read is not repeated, for a password may be in it."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError(f"--storage cannot be read as a URL (write {_FORMS})") from None
    if "@" in (url.host or ""):
        raise UserError(
            "--storage has a @ too many (write one that belongs to the password as %40, or leave "
            "the password to ~/.pgpass)"
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise UserError(
            "--storage names a database in memory, which other processes cannot see "
            "(write sqlite:///FILE)"
        )
    return url
