"""The exceptions that a user can meet, and which SQLSTATE becomes which."""

from psycopg import Error as DatabaseError
from psycopg import OperationalError


class TidemarkError(Exception):
    """What went wrong in one sentence, and a remedy that can be followed.

    The command line prints both and exits with 1; every other exception is a defect.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class SettingsError(TidemarkError):
    """A setting that cannot be used."""


class ServerError(TidemarkError):
    """A database server that cannot be had, started or reached."""


class PermissionDeniedError(TidemarkError):
    """A login that may not do what the command needs."""


class SchemaError(TidemarkError):
    """A database that is not at the schema this program needs."""


class OffsetError(TidemarkError):
    """The topic's offsets do not follow the ones stored with the ticks."""


class FeedError(TidemarkError):
    """A topic or file that cannot be read as ticks."""


BY_SQLSTATE: dict[str, type[TidemarkError]] = {
    "TM201": OffsetError,
    "42501": PermissionDeniedError,  # insufficient_privilege
    "3F000": SchemaError,  # invalid_schema_name
    "42P01": SchemaError,  # undefined_table
    "42883": SchemaError,  # undefined_function
}


def from_database(error: DatabaseError) -> TidemarkError | None:
    """The exception for a database error that a user can act on; None for any other.

    Every error of our own class (TM…) is one: it carries its values and its remedy.
    """
    sqlstate = error.sqlstate or ""
    kind = BY_SQLSTATE.get(sqlstate, TidemarkError if sqlstate.startswith("TM") else None)
    if kind is None and isinstance(error, OperationalError):
        return ServerError(
            f"the database cannot go on: {brief(error)}",
            "The server's log says more: its disk, memory, connections, or a restart.",
        )
    if kind is None:
        return None
    primary, detail, hint = (
        error.diag.message_primary or str(error),
        error.diag.message_detail,
        error.diag.message_hint,
    )
    message = f"{primary} ({detail})" if detail else primary
    if kind is SchemaError:
        return SchemaError(message, "Bring the schema up to date: tidemark migrate")
    if kind is PermissionDeniedError:
        return kind(message, "Grant the login the role that the command works in, or use another.")
    return kind(message, hint or "")


def brief(error: Exception) -> str:
    """What went wrong, without the statement and the context that it happened in."""
    if isinstance(error, DatabaseError) and error.diag.message_primary:
        return f"{error.diag.message_primary} ({error.sqlstate})"
    return str(error).strip()
