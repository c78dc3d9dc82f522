"""What is logged, by us and by the libraries, is of one form."""

import json
import subprocess
import sys

SAY = """
import logging
from glue import logs
logs.configure("{form}")
logs.get("relay").warning("database lost")
logging.getLogger("psycopg").info("not to be told")
logging.getLogger("psycopg").warning("query cancellation failed: %s", "too late")
"""


def said(form: str) -> list[str]:
    command = [sys.executable, "-c", SAY.format(form=form)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_a_warning_of_a_library_is_an_entry_like_ours() -> None:
    ours, theirs = map(json.loads, said("json"))
    assert ours.keys() - {"process"} == theirs.keys() - {"logger"}
    assert theirs["event"] == "query cancellation failed: too late"
    assert theirs["level"] == "warning"
    assert theirs["logger"] == "psycopg"


def test_it_is_a_line_in_the_console_too() -> None:
    _, theirs = said("console")
    assert "query cancellation failed: too late" in theirs
    assert "psycopg" in theirs
