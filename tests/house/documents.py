"""Documents that must agree with the code."""

from __future__ import annotations

import re

import yaml
from cpp_scanner import without_comments
from openapi_spec_validator import OpenAPIV31SpecValidator
from source_tree import SourceTree, Violation, line_of

README_LINES = 150
METRICS_DOCUMENT = "docs/reference/metrics.md"
RELAY_METRICS_DOCUMENT = "docs/reference/relay-metrics.md"
ROUTES = "coordinator/http/routes.cpp"
OPENAPI = "openapi.yaml"
SETUP = "scripts/setup"
DEPENDENCIES = "cmake/ConcordatDependencies.cmake"

# A literal with our prefix is a metric when it stands in a file about metrics, or ends like one.
_LITERAL = re.compile(r'"(concordat_[a-z0-9_]+)"')
_METRIC_ENDING = re.compile(r"_(?:total|seconds|bytes|ratio|info)$")


def readme_is_short(tree: SourceTree) -> list[Violation]:
    text = tree.text("README.md")
    if text is None:
        return [Violation("README.md", 1, "is missing")]
    lines = text.count("\n")
    return [] if lines <= README_LINES else [Violation("README.md", lines, f"{lines} lines; at most {README_LINES}")]


def setup_installs_the_libraft_that_the_build_wants(tree: SourceTree) -> list[Violation]:
    """Debian 12 offers an older one as well: a minimum that is forgotten here shows on new machines only."""
    wanted = re.search(r'"raft>=([0-9.]+)"', tree.text(DEPENDENCIES) or "")
    installed = re.search(r"^libraft_minimum=([0-9.]+)", tree.text(SETUP) or "", re.MULTILINE)
    agreed = wanted and installed and wanted[1] == installed[1]
    return [] if agreed else [Violation(SETUP, 1, f"libraft_minimum is not the minimum of {DEPENDENCIES}")]


def changelog_has_unreleased_section(tree: SourceTree) -> list[Violation]:
    text = tree.text("CHANGELOG.md") or ""
    return [] if "## [Unreleased]" in text else [Violation("CHANGELOG.md", 1, "no '## [Unreleased]' section")]


def links_lead_somewhere(tree: SourceTree) -> list[Violation]:
    """Relative links of the documents name files or folders of the tree."""
    found = []
    folders = {path.rsplit("/", depth)[0] for path in tree.files for depth in range(1, path.count("/") + 1)}
    for path, text in tree.below("", suffixes=(".md",)).items():
        for match in re.finditer(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text):
            target = match[1]
            if re.match(r"[a-z]+:", target):
                continue
            parts = [] if target.startswith("/") else path.split("/")[:-1]
            for part in target.strip("/").split("/"):
                if part == "..":
                    parts = parts[:-1]
                elif part not in (".", ""):
                    parts.append(part)
            resolved = "/".join(parts)
            if resolved and resolved not in tree.files and resolved not in folders:
                found.append(Violation(path, line_of(text, match.start()), f"link to {target} leads nowhere"))
    return found


def documents_named_in_code_exist(tree: SourceTree) -> list[Violation]:
    """A header that says 'see docs/x.md' must not send anybody nowhere."""
    found = []
    for path, text in tree.below("", suffixes=(".cpp", ".hpp", ".py", ".yaml", ".proto", ".sql")).items():
        if path.startswith("tests/house/"):
            continue
        for match in re.finditer(r"\bdocs/[\w./-]+\.(?:md|yaml)\b", text):
            if match[0] not in tree.files:
                found.append(Violation(path, line_of(text, match.start()), f"{match[0]} does not exist"))
    return found


def metrics_are_documented(tree: SourceTree) -> list[Violation]:
    """Every metric in the source has a line in the reference, and the reference names no other."""
    documented = {
        name: document
        for document in (METRICS_DOCUMENT, RELAY_METRICS_DOCUMENT)
        for name in re.findall(r"^\| `(concordat_[a-z0-9_]+)`", tree.text(document) or "", re.MULTILINE)
    }
    found, used = [], set()
    for path, text in tree.below("coordinator/", "participant-sdk/").items():
        code = without_comments(text)
        for match in _LITERAL.finditer(code):
            used.add(match[1])
            is_metric = "metrics" in path.rsplit("/", 1)[-1] or _METRIC_ENDING.search(match[1])
            if is_metric and match[1] not in documented:
                found.append(Violation(path, line_of(code, match.start()), f"{match[1]} is not in docs/reference"))
    for name in sorted(set(documented) - used):
        found.append(Violation(documented[name], 1, f"{name} is not in the source"))
    return found


def routes_of(text: str) -> set[tuple[str, str]]:
    """(METHOD, path with {names}) of every line of the route table."""
    return set(re.findall(r'\bRoute\{"([A-Z]+)",\s*"(/[^"]*)"', without_comments(text)))


def openapi_paths_of(text: str) -> set[tuple[str, str]]:
    paths = (yaml.safe_load(text) or {}).get("paths") or {}
    methods = {"get", "post", "put", "patch", "delete", "head"}
    return {(method.upper(), path) for path, item in paths.items() for method in item if method in methods}


def _without_parameter_names(routes: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    return {(method, re.sub(r"\{[^}]*\}", "{}", path)): path for method, path in routes}


def openapi_describes_every_route(tree: SourceTree) -> list[Violation]:
    table, document = tree.text(ROUTES), tree.text(OPENAPI)
    if table is None or document is None:
        return [Violation(ROUTES if table is None else OPENAPI, 1, "is missing")]
    routes, paths = _without_parameter_names(routes_of(table)), _without_parameter_names(openapi_paths_of(document))
    if not routes:
        return [Violation(ROUTES, 1, "no route was recognised")]
    return [Violation(OPENAPI, 1, f"{method} {routes[method, path]} is not described")
            for method, path in sorted(set(routes) - set(paths))] + [
        Violation(ROUTES, 1, f"{method} {paths[method, path]} is described but not served")
        for method, path in sorted(set(paths) - set(routes))]


def openapi_is_valid(tree: SourceTree) -> list[Violation]:
    text = tree.text(OPENAPI)
    if text is None:
        return [Violation(OPENAPI, 1, "is missing")]
    try:
        errors = list(OpenAPIV31SpecValidator(yaml.safe_load(text)).iter_errors())
    except yaml.YAMLError as error:
        return [Violation(OPENAPI, 1, str(error))]
    return [Violation(OPENAPI, 1, f"{'/'.join(map(str, error.absolute_path))}: {error.message}") for error in errors]


CHECKS = {
    readme_is_short: [{}, {"README.md": "x\n" * 151}],
    setup_installs_the_libraft_that_the_build_wants: [
        {SETUP: "libraft_minimum=0.21\n", DEPENDENCIES: 'f(raft "raft>=0.22")\n'},
        {SETUP: "libraft-dev\n", DEPENDENCIES: 'f(raft "raft>=0.22")\n'},
    ],
    changelog_has_unreleased_section: [{}, {"CHANGELOG.md": "# Changelog\n"}],
    links_lead_somewhere: [{"docs/a.md": "[b](b.md)\n"}, {"docs/a/b.md": "[b](../../c/)\n"}],
    documents_named_in_code_exist: [{"coordinator/core/a.hpp": "// see docs/gone.md\n"}],
    metrics_are_documented: [
        {"coordinator/app/a.cpp": 'f("concordat_x_total");\n'},
        {"coordinator/app/metrics.cpp": 'f("concordat_serving");\n'},
        {METRICS_DOCUMENT: "| `concordat_gone_total` |\n"},
    ],
    openapi_is_valid: [{}, {OPENAPI: "openapi: 3.1.0\n"}, {OPENAPI: "a: [\n"}],
    openapi_describes_every_route: [
        {ROUTES: 'Route{"GET", "/v1/a/{x}", anyone},\n', OPENAPI: "paths: {}\n"},
        {ROUTES: 'Route{"GET", "/v1/a", anyone},\n', OPENAPI: "paths: {/v1/a: {get: {}, post: {}}}\n"},
        {ROUTES: "\n", OPENAPI: "paths: {}\n"},
    ],
}
