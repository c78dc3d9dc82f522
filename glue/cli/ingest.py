"""`tidemark ingest`."""

import click

from glue.settings import Settings


@click.command()
@click.option("--kafka", metavar="SERVERS", help="Bootstrap servers; else TIDEMARK_KAFKA.")
@click.option("--topic", metavar="TOPIC", help="Else TIDEMARK_TOPIC, else fx-stream-global.")
@click.pass_obj
def ingest(settings: Settings, kafka: str | None, topic: str | None) -> None:
    """Store the ticks of the Kafka topic, each exactly once, until stopped.

    Offsets are stored with the ticks (api.ingest_offsets), none are committed to Kafka: after a
    stop or a crash it goes on where the database stands. A cluster that is new to the database is
    read from its oldest tick. Broker or database away: it waits for them. Stops on Ctrl-C and
    SIGTERM.
    """
    from glue import db
    from glue import ingest as process

    servers = kafka or settings.kafka
    if not servers:
        raise click.UsageError("Name the cluster: --kafka host:port, or TIDEMARK_KAFKA.")
    process.main(db.dsn_of(settings), servers, topic or settings.topic)
