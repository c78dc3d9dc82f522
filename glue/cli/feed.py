"""`tidemark feed`."""

import click

from glue.settings import Settings


@click.command()
@click.option("--kafka", metavar="SERVERS", help="Bootstrap servers; else one in this process.")
@click.option("--topic", metavar="TOPIC", help="Else TIDEMARK_TOPIC, else fx-stream-global.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=200.0,
    show_default=True,
    help="Ticks a second, on average.",
)
@click.option("--seed", type=int, help="The same seed gives the same prices.")
@click.pass_obj
def feed(
    settings: Settings, kafka: str | None, topic: str | None, rate: float, seed: int | None
) -> None:
    """Send a simulated market (28 currency pairs and gold) to a Kafka topic, until stopped.

    Without --kafka the broker is the one inside librdkafka, in this process and in memory. Prints
    the cluster's address as one line of JSON, {"kafka": "host:port"}, when ticks are about to flow.
    TIDEMARK_KAFKA is not read: a simulated price must never reach a real topic unasked.
    """
    from glue import feed as process

    process.main(kafka, topic or settings.topic, rate, seed)
