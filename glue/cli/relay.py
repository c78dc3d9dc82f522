"""`tidemark relay`."""

import ipaddress
from pathlib import Path

import click

from glue.cli.parsed import ADDRESS, Parsed
from glue.settings import Address, Network, Settings, parse_origin

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--listen", type=ADDRESS, help="Else TIDEMARK_LISTEN, else 127.0.0.1:8017.")
@click.option(
    "--metrics-listen",
    type=ADDRESS,
    help="Serve /metrics here to whoever can reach it; else TIDEMARK_METRICS_LISTEN.",
)
@click.option("--tls-cert", type=FILE, help="Serve HTTPS with this chain; else TIDEMARK_TLS_CERT.")
@click.option("--tls-key", type=FILE, help="The certificate's key; else TIDEMARK_TLS_KEY.")
@click.option(
    "--allow-origin",
    "allowed_origins",
    type=Parsed("ORIGIN", parse_origin),
    multiple=True,
    help="Another origin (https://host:port) whose pages may connect; repeatable. "
    "Else TIDEMARK_ALLOWED_ORIGINS.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    type=Parsed("NETWORK", ipaddress.ip_network),
    multiple=True,
    help="A proxy whose X-Forwarded-For and -Proto count; repeatable. "
    "Else TIDEMARK_TRUSTED_PROXIES.",
)
@click.option("--max-clients", type=click.IntRange(1), help="Connections served at a time.")
@click.option("--max-clients-per-token", type=click.IntRange(1), help="The same with one token.")
@click.option(
    "--max-clients-per-address", type=click.IntRange(1), help="The same from one address."
)
@click.pass_obj
def relay(
    settings: Settings,
    listen: Address | None,
    metrics_listen: Address | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    allowed_origins: tuple[str, ...],
    trusted_proxies: tuple[Network, ...],
    max_clients: int | None,
    max_clients_per_token: int | None,
    max_clients_per_address: int | None,
) -> None:
    """Serve the page and its live updates, until stopped.

    One port: the page, /ws (for those who have a token: tidemark token issue), /healthz, and
    /metrics for this machine only. While the database is away clients stay connected and are told
    so. Stops on Ctrl-C and SIGTERM; reads a renewed certificate on SIGHUP.
    """
    from glue import db
    from glue import relay as process

    if metrics_listen is None and settings.metrics_listen is not None:
        metrics_listen = Address.parse(settings.metrics_listen)
    if (tls_cert is None) is not (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    chain, key = tls_cert or settings.tls_cert, tls_key or settings.tls_key
    process.main(
        db.dsn_of(settings),
        listen or settings.listen_address,
        metrics_listen,
        allowed_origins=allowed_origins or settings.origins,
        trusted_proxies=trusted_proxies or settings.proxies,
        limits=process.Limits(
            clients=max_clients or settings.max_clients,
            clients_per_token=max_clients_per_token or settings.max_clients_per_token,
            clients_per_address=max_clients_per_address or settings.max_clients_per_address,
        ),
        certificate=process.Certificate(chain, key) if chain and key else None,
    )
