"""The embedded server: PostgreSQL with TimescaleDB, without root and without Docker."""
