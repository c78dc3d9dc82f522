"""The embedded server: PostgreSQL with TimescaleDB, without root and without Docker."""

import sys

from glue.errors import ServerError
from glue.local.problems import OWN_SERVER

if sys.platform == "win32":  # the modules below need what only Unix has
    raise ServerError("no embedded server for Windows", OWN_SERVER)
