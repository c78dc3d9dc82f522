"""The examples of the documentation: each block of SQL answers what stands behind its queries."""

import re
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from glue.paths import CHECKOUT
from tests.factories import Connection

FENCE = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
PSQL_COMMAND = re.compile(r"^\\.*\n", re.MULTILINE)
STATEMENT = re.compile(r"(.+?;)[ ]*(?:-- ([^\n]*))?\n", re.DOTALL)


class Example(NamedTuple):
    """A statement, and what it answers: rows apart by semicolons, values by commas, or an error."""

    statement: str
    answer: str | None


def blocks(file: str) -> dict[str, list[Example]]:
    """The examples of each block, by the heading that it stands under and its number there."""
    found: dict[str, list[Example]] = {}
    for section in re.split(r"^## ", Path(CHECKOUT, file).read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for number, fenced in enumerate(FENCE.findall(section), start=1):
            body = PSQL_COMMAND.sub("", fenced)
            assert not STATEMENT.sub("", body).strip(), f"{heading}: not a statement on a line"
            found[f"{heading}, {number}"] = [
                Example(statement.strip(), answer or None)
                for statement, answer in STATEMENT.findall(body)
            ]
    return found


VALUATION = blocks("docs/valuation.md")
README = blocks("README.md")


def shown(value: object) -> str:
    """A value as the documents write it."""
    if isinstance(value, list):
        return "{" + ",".join(value) + "}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def answers(conn: Connection, examples: list[Example]) -> list[tuple[str, str]]:
    """What each statement with an answer says, beside what the document says."""
    compared = []
    for statement, answer in examples:
        try:
            cursor = conn.execute(statement.encode())
        except psycopg.Error as error:
            compared.append((f"error {error.sqlstate}", answer or f"no error: {error}"))
            continue
        if answer is not None:
            rows = [", ".join(shown(value) for value in row) for row in cursor.fetchall()]
            compared.append(("; ".join(rows), answer))
    return compared


@pytest.mark.parametrize("block", VALUATION)
def test_the_document_answers_what_the_database_does(conn: Connection, block: str) -> None:
    compared = answers(conn, VALUATION[block])
    assert compared, "the block shows no answer"
    assert [ours for ours, _ in compared] == [theirs for _, theirs in compared]


def test_every_section_of_formulas_has_an_example() -> None:
    text = Path(CHECKOUT, "docs/valuation.md").read_text()
    headings = set(re.findall(r"^## (.*)$", text, flags=re.MULTILINE)) - {"Sources"}
    assert headings == {block.rpartition(",")[0] for block in VALUATION}


def test_the_readme_answers_what_the_database_does(conn: Connection) -> None:
    compared = []
    for examples in README.values():
        plain = [
            Example(statement, answer if re.match(r"-?[\d.]+", answer or "") else None)
            for statement, answer in examples
        ]
        compared += answers(conn, plain)
    assert ("100000.00, -5.50, 99994.50, 2309.35",) * 2 in compared
    assert [ours for ours, _ in compared] == [theirs for _, theirs in compared]
