"""What a page may say, made from the contract's types, and what it may not."""

import json
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from glue import wire

Message = dict[str, Any]
instants = st.datetimes().map(lambda at: f"{at.isoformat()}Z")


def fitting(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """What fits a type of the contract."""
    match kind:
        case inspect.Metadata(extra_json_schema={"title": "Instant"}):
            wild = fitting(kind.type)  # hardly ever in the calendar
            found = st.one_of(instants, instants, wild)
        case inspect.Metadata():
            found = fitting(kind.type)
        case inspect.UnionType():
            found = st.one_of(map(fitting, kind.types))
        case inspect.NoneType():
            found = st.none()
        case inspect.BoolType():
            found = st.booleans()
        case inspect.IntType():
            lowest, highest = kind.ge, kind.le
            assert lowest is not None is not highest
            few = st.integers(max(lowest, 1), max(lowest, 2))  # an account's, perhaps
            found = few | st.integers(lowest, highest)
        case inspect.FloatType():
            found = st.floats(kind.ge, kind.le)
        case inspect.StrType(pattern=None):
            found = st.text(max_size=kind.max_length)
        case inspect.StrType():
            found = st.from_regex(kind.pattern).filter(
                lambda text: kind.max_length is None or len(text) <= kind.max_length
            )
        case inspect.ListType():
            found = st.lists(fitting(kind.item_type), min_size=kind.min_length or 0, max_size=3)
        case inspect.DictType():
            found = st.dictionaries(
                fitting(kind.key_type).map(str), fitting(kind.value_type), max_size=3
            )
        case _:
            raise TypeError(f"the contract did not have {kind}")
    return found


def fitting_message(
    kind: type[msgspec.Struct], **narrower: st.SearchStrategy[Any]
) -> st.SearchStrategy[Message]:
    """A valid message of a type, some of its fields narrower than they may be."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    assert info.tag_field is not None
    fields = {field.name: fitting(field.type) for field in info.fields} | narrower
    required = {field.name: fields.pop(field.name) for field in info.fields if field.required}
    return st.fixed_dictionaries({info.tag_field: st.just(info.tag), **required}, optional=fields)


def is_valid(message: object) -> bool:
    """Whether the relay's decoder lets it in."""
    try:
        msgspec.json.decode(json.dumps(message), type=wire.FromPage)
    except msgspec.MsgspecError:
        return False
    return True


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
"""Anything that JSON can say."""
valid = st.one_of(map(fitting_message, get_args(wire.FromPage)))


@st.composite
def spoilt_messages(draw: st.DrawFn) -> Message:
    """A valid message but for one field, which has another value, is missing, or is unknown."""
    message = draw(valid)
    name = draw(st.sampled_from([*message, "x"]).filter(lambda name: name != "type"))
    if draw(st.booleans()):
        return {key: value for key, value in message.items() if key != name}
    return message | {name: draw(values)}


spoilt = spoilt_messages().filter(lambda message: not is_valid(message))
