"""Which broker `api.accounts.broker` names, and how a connection to it is made."""

from collections.abc import Callable, Mapping

from glue.brokers import Broker
from glue.brokers.oanda import LIVE, PRACTICE, Oanda
from glue.brokers.simulated import TOKEN
from glue.errors import SettingsError
from glue.settings import Settings


def _oanda(settings: Settings) -> Broker:
    if settings.oanda_token is None:
        raise SettingsError(
            "there is no token for OANDA",
            "Make one on OANDA's page Manage API Access, and set TIDEMARK_OANDA_TOKEN.",
        )
    url = {"practice": PRACTICE, "live": LIVE}.get(settings.oanda, settings.oanda)
    if not url.startswith(("https://", "http://")):
        raise SettingsError(
            f"TIDEMARK_OANDA is practice, live or an address, not {settings.oanda!r}",
            "An address begins with https://.",
        )
    return Oanda(settings.oanda_token, url)


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
