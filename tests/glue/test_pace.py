"""How the relay paces what it reads and sends: pure, without a server."""

import itertools

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
    rounds.ask()
    while rounds:
        turns.append(rounds.turn(ids, f"T{len(turns)}", 0.0))
        rounds.end_turn(len(turns[-1]))
    assert [len(turn) for turn in turns] == [ACCOUNTS, ACCOUNTS, 50]
    assert sorted(account for turn in turns for account in turn) == ids
    assert rounds.completed_at == "T0"


def test_what_moves_within_a_round_is_read_in_the_next() -> None:
    ids, rounds = list(range(ACCOUNTS + 1)), Round()
    rounds.ask()
    rounds.end_turn(len(rounds.turn(ids, "T1", 0.0)))
    rounds.ask()
    rounds.end_turn(len(rounds.turn(ids, "T2", 0.0)))
    assert (rounds.completed_at, bool(rounds)) == ("T1", True)
    read: list[int] = []
    for at in ("T3", "T4"):
        turn = rounds.turn(ids, at, 0.0)
        read += turn
        rounds.end_turn(len(turn))
    assert sorted(read) == ids
    assert (rounds.completed_at, bool(rounds)) == ("T3", False)


def test_rounds_of_one_interval_begin_together_and_no_sooner() -> None:
    early, late, begun, now = Round(), Round(), [], 7.0
    early.interval = late.interval = 0.1
    while now < 9.0:  # the hub looks every 50 ms, and a little more
        early.ask()
        if now > 7.04:
            late.ask()
        turns = [rounds.turn([1], "", now) for rounds in (early, late) if rounds]
        if any(turns):
            begun.append((now, [len(turn) for turn in turns]))
        for rounds in (early, late):
            rounds.end_turn(1)
        now += 0.0503
    assert all(turns == [1, 1] for _, turns in begun[2:])
    assert 18 <= len(begun) <= 21
    assert all(later - earlier > 0.09 for (earlier, _), (later, _) in itertools.pairwise(begun[2:]))


def test_a_client_without_accounts_lacks_none() -> None:
    rounds = Round()
    rounds.ask()
    assert list(rounds.turn([], "T1", 0.0)) == []
    rounds.end_turn(0)
    assert (rounds.completed_at, bool(rounds)) == ("T1", False)


def test_accounts_that_are_gone_end_the_round() -> None:
    rounds = Round()
    rounds.ask()
    rounds.end_turn(len(rounds.turn(range(ACCOUNTS + 5), "T1", 0.0)))
    rounds.end_turn(len(rounds.turn([], "T2", 0.0)))
    assert not rounds
