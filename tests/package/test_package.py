"""The SDK as a service's author meets it: installed, found by CMake, used from a project of its own; and the
content of the Debian packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(os.environ["CONCORDAT_SOURCE_DIR"])
BUILD = Path(os.environ["CONCORDAT_BUILD_DIR"])


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--component", "sdk", "--prefix", prefix, cwd=SOURCE)
    return prefix


def test_a_separate_project_builds_and_runs_against_the_installed_sdk(installed, tmp_path):
    """Every component is found, its header compiles with strict warnings, and the program links and runs."""
    run("cmake", "-S", SOURCE / "tests/package/consumer", "-B", tmp_path, "-G", "Ninja",
        f"-DCMAKE_PREFIX_PATH={installed}", cwd=SOURCE)
    run("cmake", "--build", tmp_path, cwd=SOURCE)
    assert run(tmp_path / "consumer", cwd=tmp_path) == "ready\n"


def test_an_unknown_component_is_refused(installed, tmp_path):
    """A typing error in COMPONENTS must not configure."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(x CXX)\n"
        "find_package(concordat CONFIG REQUIRED COMPONENTS participants)\n", encoding="utf-8")
    done = subprocess.run(
        ["cmake", "-S", project, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}"],
        capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "participants" in done.stderr


def test_public_headers_are_installed_and_internal_ones_are_not(installed):
    headers = {path.relative_to(installed / "include").as_posix() for path in (installed / "include").rglob("*.hpp")}
    public = SOURCE / "participant-sdk/include"
    assert headers == {path.relative_to(public).as_posix() for path in public.rglob("*.hpp")}
    assert headers


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> dict[str, list[str]]:
    """Package name -> the files in it."""
    folder = tmp_path_factory.mktemp("packages")
    run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder, cwd=BUILD)
    content = {}
    for package in folder.glob("*.deb"):
        name = run("dpkg-deb", "--field", package, "Package", cwd=folder).strip()
        listing = run("dpkg-deb", "--contents", package, cwd=folder)
        content[name] = [line.split()[5].removeprefix(".") for line in listing.splitlines() if not line.endswith("/")]
    return content


@pytest.mark.parametrize(("package", "file"), [
    ("concordatd", "/usr/bin/concordatd"),
    ("concordatd", "/usr/lib/systemd/system/concordatd.service"),
    ("concordatd", "/usr/bin/concordat"),
    ("concordat-relay", "/usr/bin/concordat-relay"),
    ("concordat-sdk-dev", "/usr/include/concordat/participant.hpp"),
])
def test_debian_package_holds_its_file(packages, package, file):
    assert file in packages[package]


def test_debian_packages_share_no_file(packages):
    """Two packages with the same file cannot be installed together."""
    files = [file for content in packages.values() for file in content]
    assert len(files) == len(set(files))


def test_debian_packages_hold_no_program_with_failpoints(packages):
    """Programs that can be told to die are for tests; that the others contain no point is shown with the crash points."""
    assert [file for content in packages.values() for file in content if "failpoint" in file] == []
