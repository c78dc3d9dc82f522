"""The contract between relay and page, and what is made from it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given

from glue import wire
from tests import contract
from tests.glue import nonsense

DOCUMENT = json.loads(contract.ASYNCAPI.read_text())


@pytest.mark.parametrize("path", contract.files(), ids=lambda path: path.name)
def test_what_is_made_from_the_contract_is_not_stale(path: Path) -> None:
    assert path.read_text() == contract.files()[path], (
        f"{path.relative_to(contract.ROOT)} is stale: {contract.COMMAND}"
    )


def test_every_reference_in_the_document_leads_somewhere() -> None:
    def follow(part: Any) -> int:
        if isinstance(part, list):
            return sum(map(follow, part))
        if not isinstance(part, dict):
            return 0
        if isinstance(reference := part.get("$ref"), str):
            found: Any = DOCUMENT
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]
        return isinstance(reference, str) + sum(map(follow, part.values()))

    assert follow(DOCUMENT) > 50


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        ('{"type":"hello","token":"t"}', True),
        ('{"type":"hello","token":"t","account_ids":[1],"since":{"1":7}}', True),
        ('{"type":"hello","token":"t","totals_currency":"USD","only_totals":true}', True),
        ('{"type":"hello","token":"t","totals_currency":"usd"}', False),
        ('{"type":"totals","currency":"USD\\n"}', False),
        ('{"type":"hello","token":"t","account_ids":[]}', False),
        ('{"type":"hello","token":"t","updates_a_second":10}', True),
        ('{"type":"hello","token":"t","updates_a_second":0}', False),
        ('{"type":"hello","token":"t","updates_a_second":21}', False),
        ('{"type":"hello","token":"t","since":{"1":-1}}', False),
        ('{"type":"resync","since":null}', True),
        ('{"type":"ping","sent_at":1700000000000.25}', True),
        ('{"type":"ping","sent_at":1e400}', False),
        ('{"type":"ping","sent_at":-1}', False),
        ('{"type":"curve","account_id":1,"from_at":"2014-05-02T12:30:00.000Z",'
         '"to_at":"2014-05-02T13:30:00Z","points":300}', True),
        ('{"type":"curve","account_id":1,"from_at":"2014-05-02","to_at":"now","points":9}', False),
        ('{"type":"curve","account_id":1,"from_at":"2014-05-02T12:30:00.000Z",'
         '"to_at":"2014-05-02T13:30:00Z","points":1}', False),
    ],
)  # fmt: skip
def test_document_and_decoder_agree_on_what_a_page_may_send(text: str, is_fine: bool) -> None:
    try:
        msgspec.json.decode(text, type=wire.FromPage)
        is_decoded = True
    except msgspec.MsgspecError:
        is_decoded = False
    assert is_decoded is is_fine
    try:
        contract.check(json.loads(text), "fromPage")
        is_valid = True
    except jsonschema.ValidationError:
        is_valid = False
    assert is_valid is is_fine


@given(message=nonsense.valid)
def test_what_fits_the_types_fits_the_document(message: nonsense.Message) -> None:
    assert nonsense.is_valid(message)
    contract.check(message, "fromPage")
