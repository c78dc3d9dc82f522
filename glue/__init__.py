"""Tidemark: the thin processes around the database that does the work."""
