"""How the relay paces what it reads and sends: pure, without a server."""

from glue.relay.pace import ACCOUNTS, BURST, BYTES_A_SECOND, Pace, Round


def test_updates_are_sent_at_their_rate_after_a_burst() -> None:
    pace, now, sent = Pace(), 100.0, 0
    while now < 103.0:
        if pace.free_at <= now:
            pace.count(10_000, now)
            sent += 10_000
        else:
            now = pace.free_at
    assert abs(sent - (BURST + 3 * BYTES_A_SECOND)) <= 20_000


def test_a_pause_saves_up_one_burst_at_the_most() -> None:
    pace = Pace()
    pace.count(BURST, 0.0)
    pace.count(BURST, 1_000.0)
    assert pace.free_at == 1_000.0


def test_a_round_reads_every_account_once() -> None:
    ids, turns, rounds = list(range(ACCOUNTS * 2 + 50)), [], Round()
    rounds.ask(len(ids), "T1")
    while rounds:
        turns.append(rounds.turn(ids))
        rounds.end_turn(len(turns[-1]), len(ids), "T2")
    assert [len(turn) for turn in turns] == [ACCOUNTS, ACCOUNTS, 50]
    assert sorted(account for turn in turns for account in turn) == ids
    assert rounds.completed_at == "T1"


def test_what_moves_within_a_round_is_read_in_the_next() -> None:
    ids, rounds = list(range(ACCOUNTS + 1)), Round()
    rounds.ask(len(ids), "T1")
    rounds.end_turn(len(rounds.turn(ids)), len(ids), "T2")
    rounds.ask(len(ids), "T3")
    rounds.end_turn(len(rounds.turn(ids)), len(ids), "T4")
    assert (rounds.completed_at, bool(rounds)) == ("T1", True)
    read: list[int] = []
    while rounds:
        turn = rounds.turn(ids)
        read += turn
        rounds.end_turn(len(turn), len(ids), "T5")
    assert sorted(read) == ids
    assert rounds.completed_at == "T4"


def test_a_client_without_accounts_lacks_none() -> None:
    rounds = Round()
    rounds.ask(0, "T1")
    assert (rounds.completed_at, bool(rounds)) == ("T1", False)


def test_accounts_that_are_gone_end_the_round() -> None:
    rounds = Round()
    rounds.ask(ACCOUNTS + 5, "T1")
    rounds.end_turn(len(rounds.turn(list(range(ACCOUNTS + 5)))), 0, "T2")
    rounds.end_turn(len(rounds.turn([])), 0, "T3")
    assert not rounds
