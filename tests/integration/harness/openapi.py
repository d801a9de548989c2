"""Checks live answers against openapi.yaml.

What: finds the route and the status of an answer in the specification and validates headers that are promised and
the body against the schema. An answer whose status is not described for its route is a failure too.

Threads: immutable after loading.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import yaml

SPECIFICATION = Path(__file__).resolve().parents[3] / "openapi.yaml"


class Specification:
    def __init__(self, path: Path = SPECIFICATION) -> None:
        self.document = yaml.safe_load(path.read_text())
        self._patterns = [
            (re.compile("^" + re.sub(r"\{[^}]*\}", "[^/]+", template) + "$"), template, item)
            for template, item in self.document["paths"].items()]

    def resolve(self, node: dict) -> dict:
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def validate(self, value, schema: dict) -> None:
        """Raises jsonschema.ValidationError with the place that is wrong."""
        root = {**schema, "components": self.document["components"]}
        jsonschema.Draft202012Validator(root).validate(value)

    def operation(self, method: str, target: str) -> dict | None:
        path = target.split("?", 1)[0]
        for pattern, _, item in self._patterns:
            if pattern.match(path) and method.lower() in item:
                return item[method.lower()]
        return None

    def check(self, method: str, target: str, status: int, headers: dict, text: str) -> None:
        """`headers` has lower-case names."""
        operation = self.operation(method, target)
        if operation is None:
            self._check_unrouted(status, text)
            return
        responses = operation["responses"]
        assert str(status) in responses, f"{method} {target}: status {status} is not described\n{text}"
        response = self.resolve(responses[str(status)])
        content = response.get("content")
        if content is None:
            assert text == "", f"{method} {target} {status}: has a body that is not described\n{text}"
        else:
            media = headers.get("content-type", "").split(";")[0]
            assert media in content, f"{method} {target} {status}: {media} is not described"
            if media.endswith("json"):
                self.validate(json.loads(text), content[media]["schema"])
        required = {"Location", "ETag", "Retry-After", "WWW-Authenticate", "Allow"}
        for name in required & set(response.get("headers", {})):
            assert name.lower() in headers, f"{method} {target} {status}: {name} is missing"

    def _check_unrouted(self, status: int, text: str) -> None:
        assert status in (400, 404, 405, 408, 413, 431), f"status {status} outside every route"
        self.validate(json.loads(text), self.document["components"]["schemas"]["Problem"])
