"""The demo: a simulated market, and accounts that trade in it."""
