"""`python -m tests.contract` writes what is made from glue/wire.py.

The types say what a field is, the docstrings what it means; both go into both files.
"""

import ast
import functools
import inspect
import json
import textwrap
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import jsonschema
import msgspec

from glue import wire

ROOT = Path(__file__).resolve().parent.parent
ASYNCAPI = ROOT / "docs" / "asyncapi.json"
MESSAGES = ROOT / "frontend2" / "src" / "services" / "messages.js"
COMMAND = "make docs"
SCHEMAS = "#/components/schemas/"
MADE = f"made from glue/wire.py by `{COMMAND}`"
RENAMED = {"Error": "RelayError"}
"""Names that the page must not take from the language."""
WIDTH = 100

source = ast.parse(inspect.getsource(wire))
constants: dict[str, str | float] = {}
aliases: dict[str, ast.expr] = {}
structs: dict[str, ast.ClassDef] = {}
for statement in source.body:
    if isinstance(statement, ast.ClassDef):
        structs[statement.name] = statement
    elif isinstance(statement, ast.Assign) and isinstance(name := statement.targets[0], ast.Name):
        if isinstance(statement.value, ast.Constant):
            constants[name.id] = statement.value.value  # type: ignore[assignment]
        else:
            aliases[name.id] = statement.value


def fields(struct: ast.ClassDef) -> dict[str, tuple[ast.AnnAssign, str]]:
    """Each field with what the docstring below it says."""
    found: dict[str, tuple[ast.AnnAssign, str]] = {}
    for node in struct.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
            found[last] = node, ""
        elif found and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[last] = found[last][0], inspect.cleandoc(str(node.value.value))
    return found


def messages(union: UnionType) -> list[type[msgspec.Struct]]:
    return list(get_args(union))


def tag(message: type[msgspec.Struct]) -> str:
    return str(message.__struct_config__.tag)


# The AsyncAPI document ------------------------------------------------------------------------


def document() -> dict[str, Any]:
    """AsyncAPI 3, seen from the relay: it receives what the page sends."""
    inward, outward = messages(wire.FromPage), messages(wire.FromRelay)
    both = inward + outward
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidemark relay",
            "version": wire.SUBPROTOCOL.removeprefix("tidemark."),
            "description": f"{inspect.cleandoc(wire.__doc__ or '')}\n\nThis file is {MADE}.",
        },
        "defaultContentType": "application/json",
        "servers": {"relay": {"host": "127.0.0.1:8017", "protocol": "ws"}},
        "channels": {
            "socket": {
                "address": "/ws",
                "description": f"A WebSocket with subprotocol {wire.SUBPROTOCOL}.",
                "messages": {
                    m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in both
                },
            }
        },
        "operations": {
            "fromPage": operation("receive", inward),
            "fromRelay": operation("send", outward),
        },
        "components": {
            "messages": {
                m.__name__: {
                    "name": tag(m),
                    "summary": inspect.cleandoc(m.__doc__ or "").splitlines()[0],
                    "payload": {"$ref": SCHEMAS + m.__name__},
                }
                for m in both
            },
            "schemas": schemas(),
        },
    }


def operation(action: str, allowed: list[type[msgspec.Struct]]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/socket"},
        "messages": [{"$ref": f"#/channels/socket/messages/{m.__name__}"} for m in allowed],
    }


def schemas() -> dict[str, Any]:
    """JSON schemas of all structs, and of the strings that have a name of their own."""
    _, made = msgspec.json.schema_components(
        [wire.FromPage, wire.FromRelay], ref_template=SCHEMAS + "{name}"
    )
    named: dict[str, Any] = {}
    for name in sorted(made):
        schema = made[name]
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
        for field, (_, words) in fields(structs[name]).items():
            if words:
                schema["properties"][field] = described(schema["properties"][field], words)
        schema["properties"] = hoisted(schema["properties"], named)
    return named | made


def described(schema: dict[str, Any], words: str) -> dict[str, Any]:
    """What is named elsewhere keeps its own description."""
    if "$ref" in schema or "title" in schema:
        return {"allOf": [schema], "description": words}
    return schema | {"description": words}


def hoisted(schema: Any, named: dict[str, Any]) -> Any:
    """Named parts are written once and referred to; OpenAPI's discriminators are not AsyncAPI's."""
    if isinstance(schema, list):
        return [hoisted(part, named) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(title := schema.get("title"), str):
        named[title] = schema
        return {"$ref": SCHEMAS + title}
    return {key: hoisted(part, named) for key, part in schema.items() if key != "discriminator"}


# The page's types -----------------------------------------------------------------------------


def javascript() -> str:
    """JSDoc types, and the constants that page and relay share."""
    parts = [
        f"/**\n * The messages of subprotocol `{wire.SUBPROTOCOL}`, {MADE}.\n *\n"
        + comment_lines(inspect.cleandoc(wire.__doc__ or "").split("\n\n")[1])
        + "\n */"
    ]
    parts += ["\n".join(f"export const {n} = {literal(v)};" for n, v in constants.items())]
    parts += [constant("ERROR_CODES", get_args(wire.ErrorCode))]
    parts += [constant("MESSAGE_TYPES", [tag(m) for m in messages(wire.FromRelay)])]
    for name, value in aliases.items():
        if name not in ("FromPage", "FromRelay"):
            line = f"@typedef {{{type_of(value)}}} {name} {titles().get(name, '')}".rstrip()
            parts += ["/**\n" + comment_lines(line, "  ") + "\n */"]
    parts += [typedef(struct) for struct in structs.values()]
    for name in ("FromPage", "FromRelay"):
        parts += [typedef_of_union(name, [m.__name__ for m in messages(getattr(wire, name))])]
    return "\n\n".join(parts) + "\n"


def titles() -> dict[str, str]:
    return {
        name: schema["description"]
        for name, schema in schemas().items()
        if name in aliases and "description" in schema
    }


def constant(name: str, values: Any) -> str:
    inner = "".join(f"  {literal(value)},\n" for value in values)
    return f"export const {name} = /** @type {{const}} */ ([\n{inner}]);"


def typedef(struct: ast.ClassDef) -> str:
    name = RENAMED.get(struct.name, struct.name)
    lines = [comment_lines(inspect.cleandoc(ast.get_docstring(struct) or ""))]
    lines += [f" * @typedef {{object}} {name}"]
    config = getattr(wire, struct.name).__struct_config__
    if config.tag:
        lines += [f" * @property {{'{config.tag}'}} type"]
    for field, (node, words) in fields(struct).items():
        kind = type_of(node.annotation)
        shown = field if node.value is None else f"[{field}]"
        line = f"@property {{{kind}}} {shown} {' '.join(words.split())}".rstrip()
        lines += [comment_lines(line, "  ")]
    return "/**\n" + "\n".join(lines) + "\n */"


def typedef_of_union(name: str, members: list[str]) -> str:
    members = [RENAMED.get(member, member) for member in members]
    return "/**\n" + comment_lines(f"@typedef {{{' | '.join(members)}}} {name}", "  ") + "\n */"


def comment_lines(text: str, indent: str = "") -> str:
    """No line ends in `|`: tsc writes no proper declaration of a literal that begins the next."""
    lines: list[str] = []
    for paragraph in text.replace("| ", "|\N{NO-BREAK SPACE}").split("\n\n"):
        lines += [" *"] if lines else []
        lines += textwrap.wrap(
            paragraph,
            WIDTH,
            initial_indent=" * ",
            subsequent_indent=f" * {indent}",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{value:.15g}"


NAMES = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}


def type_of(node: ast.expr) -> str:  # noqa: PLR0911
    """A Python annotation as TypeScript writes it."""
    match node:
        case ast.Constant(value=None):
            return "null"
        case ast.Name(id=name):
            return NAMES.get(name, RENAMED.get(name, name))
        case ast.BinOp(left=left, right=right):
            return f"{type_of(left)} | {type_of(right)}"
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *_])):
            return type_of(inner)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choice):
            values = choice.elts if isinstance(choice, ast.Tuple) else [choice]
            return " | ".join(literal(ast.literal_eval(value)) for value in values)
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            kind = type_of(inner)
            return f"({kind})[]" if "|" in kind else f"{kind}[]"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, inner])):
            return f"Record<string, {type_of(inner)}>"
    raise ValueError(f"no type of the page for {ast.unparse(node)}")


# Checks -----------------------------------------------------------------------------------------


@functools.cache
def validator(name: str) -> jsonschema.Draft7Validator:
    """Of a schema in the committed document; a field that it does not name is an error here."""
    committed = json.loads(ASYNCAPI.read_text())["components"]["schemas"]
    for schema in committed.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return jsonschema.Draft7Validator(
        {"$ref": SCHEMAS + name, "components": {"schemas": committed}}
    )


@functools.cache
def payloads(direction: str) -> dict[str, str]:
    """The schema's name by the message's type: of `fromPage` or `fromRelay`."""
    union = {"fromPage": wire.FromPage, "fromRelay": wire.FromRelay}[direction]
    return {tag(message): message.__name__ for message in messages(union)}


def check(message: dict[str, Any], direction: str) -> None:
    """Raise ValidationError for a message that does not fit the committed document.

    It may have no field that the document does not name: a page would not know it.
    """
    validator(payloads(direction)[message["type"]]).validate(message)


def files() -> dict[Path, str]:
    """The files as they should be."""
    return {
        ASYNCAPI: json.dumps(document(), indent=2, ensure_ascii=False) + "\n",
        MESSAGES: javascript(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
