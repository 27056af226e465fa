"""Validates YAML texts with a JSON Schema: one text a line, as JSON, and one answer a line: what is wrong first, or null.

Each text is read as YAML 1.1 and as YAML 1.2 (its core schema), since editors differ."""

import json
import re
import sys

import jsonschema
import yaml


# Of libyaml, if it is there: many times as fast.
Original = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Core(Original):
    """The scalars of YAML 1.2."""


Core.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)$", "-+0123456789."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
]:
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


def integer(loader, node):
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


Core.add_constructor("tag:yaml.org,2002:int", integer)


def plain(value):
    """As JSON has it: an editor knows no dates and no bytes."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def wrong(validator, text):
    before = None
    for loader in (Original, Core):
        try:
            document = plain(yaml.load(text, loader))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            return f"no YAML: {error}"
        # An empty file is like none. Types matter: true is 1 in Python.
        if document is None or repr(document) == before:
            continue
        before = repr(document)
        problem = next(validator.iter_errors(document), None)
        if problem:
            return f"{problem.json_path}: {problem.message[:300]}"
    return None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for line in sys.stdin:
        print(json.dumps(wrong(validator, json.loads(line))), flush=True)


main()
