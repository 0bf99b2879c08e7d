"""Writes JSON that fits a JSON Schema, where the simulated provider is asked for it.

What a schema asks beyond types, required fields, choices, lengths and bounds is not kept to.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

Schema = Mapping[str, object]

#: Deeper than this, what may be left out is, as a schema may hold itself; than twice this, all.
_DEPTH: Final = 6
_TEXT: Final = "simulated"
_TEXTS: Final[Mapping[object, str]] = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "uri": "https://example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def written(schema: Schema | None) -> str:
    """Write an example on one line; without a schema, of any object."""
    return msgspec.json.encode(example(schema or {"type": "object"})).decode()


def example(schema: Schema) -> object:
    """Give an example; of an object that names no properties, one with a text."""
    found = _example(schema, schema, 0)
    return {"text": _TEXT} if found == {} and not schema.get("properties") else found


def _example(schema: object, root: Schema, depth: int) -> object:
    if not isinstance(schema, dict) or depth > 2 * _DEPTH:
        return _TEXT
    if "$ref" in schema:
        return _example(_found(root, str(schema["$ref"])), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for name in ("enum", "examples", "anyOf", "oneOf", "allOf"):
        choices = schema.get(name)
        if isinstance(choices, list) and choices:
            if name in ("enum", "examples"):
                return choices[0]
            return _example(_chosen(choices, depth), root, depth + 1)
    return _of_type(schema, root, depth)


def _chosen(choices: list[object], depth: int) -> object:
    """Choose a part: deep within, nothing rather than the same again."""
    if depth > _DEPTH and {"type": "null"} in choices:
        return {"type": "null"}
    return choices[0]


def _of_type(schema: Schema, root: Schema, depth: int) -> object:
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            least = _number(schema, "minItems", 0)
            count = int(least if depth > _DEPTH else max(1, least))
            return [_example(schema.get("items"), root, depth + 1) for _ in range(count)]
        case "integer" | "number":
            return _amount(schema, 1 if kind == "integer" else 0.5)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema)


def _object(schema: Schema, root: Schema, depth: int) -> dict[str, object]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    return {name: _example(properties.get(name), root, depth + 1) for name in required}


def _amount(schema: Schema, amount: float) -> float:
    least = _number(schema, "minimum", _number(schema, "exclusiveMinimum", -1) + 1)
    most = _number(schema, "maximum", _number(schema, "exclusiveMaximum", least + 2) - 1)
    return amount if least <= amount <= most else min(least, most)


def _text(schema: Schema) -> str:
    text = _TEXTS.get(schema.get("format"), _TEXT)
    text = text.ljust(int(_number(schema, "minLength", 0)), ".")
    return text[: int(_number(schema, "maxLength", len(text)))]


def _number(schema: Schema, name: str, default: float) -> float:
    value = schema.get(name)
    return value if isinstance(value, int | float) else default


def _found(root: Schema, reference: str) -> object:
    """Follow a reference within the schema, such as `#/$defs/Step`."""
    found: object = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name) if isinstance(found, dict) else None
    return found
