"""openapi.yaml in itself: every answer has an example, every example keeps to its schema, nothing is left over."""

import pytest
from openapi import Specification

SPECIFICATION = Specification()
DOCUMENT = SPECIFICATION.document


def media_types():
    """(where, media type object) of every request and response, resolved."""
    for kind in ("paths", "webhooks"):
        for path, item in DOCUMENT[kind].items():
            for method, operation in item.items():
                where = f"{method} {path}"
                for media in operation.get("requestBody", {}).get("content", {}).values():
                    yield f"{where} request", media
                for status, response in operation["responses"].items():
                    for media in SPECIFICATION.resolve(response).get("content", {}).values():
                        yield f"{where} {status}", media


@pytest.mark.parametrize(("where", "media"), list(media_types()), ids=lambda one: one if isinstance(one, str) else "")
def test_examples_keep_to_their_schemas(where, media):
    """What the documentation shows is what the schema allows."""
    assert media.get("examples"), f"{where} has no example"
    for example in media["examples"].values():
        SPECIFICATION.validate(example["value"], media["schema"])


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_component_is_used():
    """A component that nothing refers to is a leftover, or a route that was forgotten; Event is in text only."""
    used = set(references(DOCUMENT))
    defined = {f"#/components/{kind}/{name}" for kind, members in DOCUMENT["components"].items()
               for name in members if kind != "securitySchemes"}
    assert defined - used == {"#/components/schemas/Event"}
    assert used <= defined


def test_every_command_body_is_closed():
    """Unknown members of a command body are errors, so the schemas must say so."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if schema.get("type") == "object" and name != "Metadata":
            assert schema.get("additionalProperties") is False, name
