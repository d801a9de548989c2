"""Requests to one node whose answers are held against openapi.yaml, and the bodies that tests send.

Threads: an Api may be used from many. Failures are assertion errors that quote the answer.
"""

from __future__ import annotations

from openapi import Specification
from stack import call


class Api:
    """Requests to one node whose answers are held against the specification."""

    def __init__(self, url: str, specification: Specification) -> None:
        self.url = url
        self.specification = specification

    def __call__(self, method: str, target: str, body=None, headers: dict | None = None, timeout: float = 30):
        got = call(method, self.url + target, body, timeout, headers)
        assert got.status != 0, got.text
        self.specification.check(method, target, got.status, got.headers, got.text)
        return got

    def problem(self, method: str, target: str, status: int, code: str, body=None, headers: dict | None = None):
        """The problem document of a request that must fail so."""
        got = self(method, target, body, headers)
        assert (got.status, got.member("code")) == (status, code), got.text
        return got.json


def transaction(*participants, **members):
    return {"branches": [{"participant": one.name, "payload": {"n": 1}} for one in participants], **members}
