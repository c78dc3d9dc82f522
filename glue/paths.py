"""Where files other than Python live: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent
IS_CHECKOUT = (CHECKOUT / "alembic.ini").is_file()

SHARE = CHECKOUT if IS_CHECKOUT else PACKAGE / "share"
ALEMBIC_INI = SHARE / "alembic.ini"
MIGRATIONS = SHARE / "migrations"
SQL = SHARE / "sql"
PAGE = SHARE / "frontend2" / "dist"
