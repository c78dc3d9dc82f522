"""How `alembic upgrade head` works here: one transaction that takes the lock, checks the server,
runs the versions and then applies `sql/` in path order. `--sql` prints the same statements.
"""

import sqlalchemy
import stamina
from alembic import context
from alembic.util import CommandError

from glue import db, migrate, settings


def upgrade() -> None:
    """Run the requested command inside the transaction that alembic has begun."""
    if migrate.goes_back():
        raise CommandError("versions only go forward: restore a backup to go back")
    migrate.execute(migrate.lock())
    migrate.execute(migrate.requirements())
    context.run_migrations()
    if migrate.goes_to_head():
        migrate.execute(*migrate.sql_files())


def offline() -> None:
    """Print the statements."""
    context.configure(dialect_name="postgresql", transactional_ddl=True)
    with context.begin_transaction():
        upgrade()


@stamina.retry(on=migrate.is_lock_conflict, attempts=5, wait_initial=1.0)
def online() -> None:
    """Run the statements; a lock that others hold for too long is tried again."""
    dsn = context.config.attributes.get("dsn") or db.dsn_of(settings.load())
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: db.connect(dsn, process="tidemark migrate", autocommit=False),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            upgrade()


if context.is_offline_mode():
    offline()
else:
    online()
