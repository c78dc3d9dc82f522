"""Settings come from the environment, typed and checked once."""

import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from glue.errors import SettingsError
from glue.paths import CHECKOUT, IS_CHECKOUT

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LIMITS = ("max_clients", "max_clients_per_token", "max_clients_per_address")
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]*))?/?")
DEFAULT_PORTS = {"http": 80, "https": 443}
LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


class Address(msgspec.Struct, frozen=True):
    """A host and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def local(self) -> "Address":
        """Where a program on this machine reaches who listens here."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port`, `[v6]:port` or `:port` (all interfaces); ValueError for others."""
        host, separator, port = text.rpartition(":")
        if not separator or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError(f"not host:port: {text!r}")
        return cls(host.strip("[]") or "0.0.0.0", int(port))


def parse_origin(text: str) -> str:
    """Read `https://host:port` and write it as a browser does; ValueError for others.

    Pages of apps have schemes of their own, such as `capacitor://localhost`.
    """
    if found := ORIGIN.fullmatch(text.lower()):
        scheme, host, port = found.groups()
        with contextlib.suppress(ValueError):
            if host.startswith("["):
                host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
            if port is None or int(port) == DEFAULT_PORTS.get(scheme):
                return f"{scheme}://{host}"
            if int(port) <= 65535:
                return f"{scheme}://{host}:{port}"
    raise ValueError(f"not an origin like https://desk.example or http://[::1]:8080: {text!r}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its default; `TIDEMARK_` and the upper-case name set it."""

    dsn: str | None = None
    """libpq connection string of the server to use; None is the embedded server."""
    home: Path = CHECKOUT / ".tidemark" if IS_CHECKOUT else Path.home() / ".tidemark"
    """The embedded server's binaries and data."""
    pg_bindir: Path | None = None
    """Another PostgreSQL build for the embedded server."""
    listen: str = "127.0.0.1:8017"
    """Where the relay serves page and socket."""
    metrics_listen: str | None = None
    """Where /metrics is served to others than loopback."""
    kafka: str | None = None
    """Bootstrap servers of the Kafka cluster."""
    topic: str = "fx-stream-global"
    """The topic that carries the ticks."""
    allowed_origins: str = ""
    """Origins (https://host:port) whose pages may connect besides our own; comma-separated."""
    trusted_proxies: str = ""
    """Networks of proxies whose forwarding headers count; comma-separated."""
    tls_cert: Path | None = None
    """Certificate chain with which the relay serves HTTPS; None is HTTP."""
    tls_key: Path | None = None
    """The certificate's key."""
    max_clients: int = 2000
    """Connections that the relay serves at the same time."""
    max_clients_per_token: int = 200
    """The same with one token."""
    max_clients_per_address: int = 500
    """The same from one address."""
    oanda: str = "practice"
    """`practice`, `live`, or an address that serves OANDA's v20 paths."""
    oanda_token: str | None = None
    """The personal access token of OANDA's accounts."""
    oanda_token_file: Path | None = None
    """A file that holds that token."""
    demo_broker: str = "http://127.0.0.1:8019"
    """The address of the simulated broker of the demo's accounts."""
    reconcile_beat: float = 30.0
    """Seconds from one comparison with the brokers to the next."""
    log: str = "console"
    """`console` or `json`."""

    @property
    def has_broker(self) -> bool:
        """Whether there is a broker to compare with."""
        return self.oanda_token is not None or self.oanda_token_file is not None

    @property
    def scheme(self) -> str:
        """How a browser reaches the relay itself."""
        return "http" if self.tls_cert is None else "https"

    @property
    def origins(self) -> list[str]:
        """`allowed_origins`, parsed."""
        return [
            parse_origin(part.strip()) for part in self.allowed_origins.split(",") if part.strip()
        ]

    @property
    def proxies(self) -> list[Network]:
        """`trusted_proxies`, parsed."""
        return [
            ipaddress.ip_network(part.strip())
            for part in self.trusted_proxies.split(",")
            if part.strip()
        ]

    @property
    def listen_address(self) -> Address:
        """`listen`, parsed."""
        return Address.parse(self.listen)

    def __post_init__(self) -> None:
        """Refuse what msgspec's types cannot."""
        if not 0.1 <= self.reconcile_beat <= 3600:
            raise ValueError(
                f"TIDEMARK_RECONCILE_BEAT is 0.1 to 3600 seconds, not {self.reconcile_beat:g}"
            )
        for variable, address in (
            ("TIDEMARK_LISTEN", self.listen),
            ("TIDEMARK_METRICS_LISTEN", self.metrics_listen),
        ):
            try:
                if address is not None:
                    Address.parse(address)
            except ValueError as error:
                raise ValueError(f"{variable} is {error}") from error
        for variable, name in (
            ("TIDEMARK_ALLOWED_ORIGINS", "origins"),
            ("TIDEMARK_TRUSTED_PROXIES", "proxies"),
        ):
            try:
                getattr(self, name)
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from error
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("TIDEMARK_TLS_CERT and TIDEMARK_TLS_KEY go together")
        for name in LIMITS:
            if getattr(self, name) < 1:
                raise ValueError(f"TIDEMARK_{name.upper()} is at least 1")
        if self.log not in ("console", "json"):
            raise ValueError(f"TIDEMARK_LOG is console or json, not {self.log!r}")


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raise SettingsError, naming the value, for one that does not fit.

    libpq's own variables (PGHOST, PGHOSTADDR, PGSERVICE, PGDATABASE) mean "my server" just as
    TIDEMARK_DSN does: the dsn is then empty, and libpq reads them itself.
    """
    values: dict[str, object] = {
        name: environment[variable]
        for name in Settings.__struct_fields__
        if environment.get(variable := f"TIDEMARK_{name.upper()}")
    }
    if "dsn" not in values and any(environment.get(name) for name in LIBPQ_VARIABLES):
        values["dsn"] = ""
    for name in ("home", "pg_bindir", "tls_cert", "tls_key", "oanda_token_file"):
        if name in values:
            values[name] = Path(str(values[name])).expanduser().absolute()
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        what = str(error)
        if named := re.search(r"\$\.(\w+)", what):
            what = f"TIDEMARK_{named[1].upper()} is {values[named[1]]!r}: {what}"
        raise SettingsError(
            f"a setting cannot be used: {what}", "See tidemark --help for the settings."
        ) from error
