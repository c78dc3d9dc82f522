"""A replayed day leaves bars that are all equal to the independent calculation."""

from datetime import UTC, datetime
from pathlib import Path

from tests.conftest import Database
from tests.curve_check import run
from tests.glue.test_replay_check import write_day


def test_every_bar_of_a_day_is_the_independent_one(database: Database, tmp_path: Path) -> None:
    write_day(tmp_path / "day.csv.gz", seed=11)
    deposit = datetime(2014, 5, 2, 0, 5, 0, 300_000, tzinfo=UTC), "25000"
    outcome = run(database.dsn, tmp_path / "day.csv.gz", deposit)
    assert outcome.differences == []
    assert len(outcome.ours) > 500
    assert {bar.part for bar in outcome.ours} == {0, 1}
