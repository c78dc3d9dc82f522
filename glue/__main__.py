"""`python -m glue` is the `tidemark` command."""

from glue.cli import main

main()
