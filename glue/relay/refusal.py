"""Why a client is sent away, and what it should do."""

from typing import Self

from glue import wire

CLOSE_CODES: dict[wire.ErrorCode, int] = {
    "bad_message": 1008,
    "bad_token": 1008,
    "not_allowed": 1008,
    "unavailable": 1013,
    "too_slow": 1013,
    "too_many": 1013,
    "rate_limited": 1013,
}


DECLINED: dict[str, tuple[wire.RefusedCode, str, str]] = {
    "TM304": (
        "not_allowed",
        "The token does not allow to acknowledge discrepancies.",
        "Get one that does: tidemark token issue --may-acknowledge",
    ),
    "TM305": (
        "unknown",
        "The token opens no account with this discrepancy.",
        "Ask for a new snapshot: it holds all that is open.",
    ),
    "TM306": ("resolved", "The discrepancy is resolved already.", "Nothing is left to do."),
    "TM307": (
        "acknowledged",
        "Somebody has acknowledged the discrepancy before, or with another note.",
        "Its latest event says who, when, and their note.",
    ),
}
"""Why the database declines to acknowledge, by SQLSTATE; docs/errors.md has them all."""
AWAY: tuple[wire.RefusedCode, str, str] = (
    "unavailable",
    "The database did not answer: whether the discrepancy was acknowledged is not known.",
    "Try again with the same note, which cannot do it twice.",
)


def refused(discrepancy_id: int, sqlstate: str | None) -> wire.Refused:
    """The answer to who could not acknowledge; without a SQLSTATE there was no answer."""
    code, message, remedy = AWAY if sqlstate is None else DECLINED.get(sqlstate, AWAY)
    return wire.Refused(discrepancy_id=discrepancy_id, code=code, message=message, remedy=remedy)


class Refusal(Exception):
    """Why a client is sent away; becomes an error message."""

    def __init__(self, code: wire.ErrorCode, message: str, remedy: str) -> None:
        super().__init__(message)
        self.error = wire.Error(code=code, message=message, remedy=remedy)

    @classmethod
    def bad_message(cls, message: str) -> Self:
        """It does not speak the protocol."""
        return cls("bad_message", message, "See docs/relay.md for the messages of tidemark.v1.")

    @classmethod
    def no_hello(cls) -> Self:
        """It may be the line that is slow."""
        return cls("too_slow", "No hello has come in time.", "Connect again and say it at once.")

    @classmethod
    def bad_token(cls) -> Self:
        """Unknown, expired and revoked look the same from outside."""
        return cls(
            "bad_token",
            "The token is unknown, has expired or was revoked.",
            "Get a new one: tidemark token issue",
        )

    @classmethod
    def not_allowed(cls) -> Self:
        """An account that does not exist looks the same from outside."""
        return cls(
            "not_allowed",
            "The token does not open all of the accounts asked for.",
            "Leave account_ids out to see all that it opens, or get a token for these accounts.",
        )

    @classmethod
    def unavailable(cls) -> Self:
        """The database is away."""
        return cls(
            "unavailable",
            "The relay has no connection to its database.",
            "Try again soon; the relay's log names the reason.",
        )

    @classmethod
    def set_back(cls) -> Self:
        """What the client holds may never have been, and count as newer for ever."""
        return cls(
            "unavailable",
            "The database may have lost what was committed last, by a crash or a failover.",
            "Connect again and begin with the new snapshot.",
        )

    @classmethod
    def too_many_clients(cls, whose: str, option: str) -> Self:
        """As many are being served as may be."""
        return cls(
            "too_many",
            f"{whose} has as many connections as it may have.",
            f"Close others or try again later; the relay's {option} allows more.",
        )

    @classmethod
    def too_many_accounts(cls, count: int) -> Self:
        """More than a page could show."""
        return cls(
            "too_many",
            f"The token opens {count} accounts; a connection can watch {wire.MAX_ACCOUNTS}.",
            "Name those to watch in account_ids, or ask for only_totals.",
        )

    @classmethod
    def rate_limited(cls, whose: str) -> Self:
        """It talks more than anybody has to say."""
        return cls(
            "rate_limited",
            f"{whose} has sent too many messages in a short time.",
            "Wait some seconds and connect again; a page that is up to date need not ask.",
        )
