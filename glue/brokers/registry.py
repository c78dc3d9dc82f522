"""Which broker `api.accounts.broker` names, and how a connection to it is made."""

from collections.abc import Callable, Mapping

from glue.brokers import Broker
from glue.brokers.oanda import LIVE, PRACTICE, Oanda
from glue.brokers.simulated import TOKEN
from glue.errors import SettingsError
from glue.settings import Settings


def _oanda(settings: Settings) -> Broker:
    token = _oanda_token(settings)
    url = {"practice": PRACTICE, "live": LIVE}.get(settings.oanda, settings.oanda)
    if not url.startswith(("https://", "http://")):
        raise SettingsError(
            f"TIDEMARK_OANDA is practice, live or an address, not {settings.oanda!r}",
            "An address begins with https://.",
        )
    return Oanda(token, url)


def _oanda_token(settings: Settings) -> str:
    if settings.oanda_token is not None:
        return settings.oanda_token
    if settings.oanda_token_file is None:
        raise SettingsError(
            "there is no token for OANDA",
            "Make one on OANDA's page Manage API Access, and set TIDEMARK_OANDA_TOKEN, or"
            " TIDEMARK_OANDA_TOKEN_FILE to a file with it.",
        )
    try:
        lines = settings.oanda_token_file.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the token for OANDA cannot be read: {error}",
            "Set TIDEMARK_OANDA_TOKEN_FILE to a file that this process may read.",
        ) from error
    if len(lines) != 1:
        raise SettingsError(
            f"{settings.oanda_token_file} does not hold a token, and nothing else",
            "Make one on OANDA's page Manage API Access, and write it into the file.",
        )
    return lines[0]


def _demo(settings: Settings) -> Broker:
    return Oanda(TOKEN, settings.demo_broker, rate=None)


BROKERS: Mapping[str, Callable[[Settings], Broker]] = {"oanda": _oanda, "demo": _demo}
"""A broker of your own is a line here: docs/brokers.md."""


def connect(name: str, settings: Settings) -> Broker:
    """A connection to the broker of that name, for the running event loop.

    Raises SettingsError for a name that is not known, or settings that are missing.
    """
    try:
        make = BROKERS[name]
    except KeyError:
        raise SettingsError(
            f"there is no broker {name!r}; there are: {', '.join(sorted(BROKERS))}",
            "Correct the account's broker, or add yours: docs/brokers.md.",
        ) from None
    return make(settings)
