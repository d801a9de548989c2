"""Builds and runs the test layers for scripts/test and prints one summary.

A layer fails when a test fails, when a test is skipped, and when nothing ran at all: a suite that
silently shrinks must not look green. Counts come from JUnit files that the test programs write, not
from their exit codes alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

SOURCE = Path(__file__).resolve().parent.parent
BUILD = SOURCE / "build"
RESULTS = BUILD / "results"
JOBS = str(max(2, os.cpu_count() or 2))

# Programs inherit nothing that would change what a test does.
SCRUBBED = ("GTEST_FILTER", "GTEST_SHUFFLE", "UPDATE_GOLDEN", "PYTEST_ADDOPTS", "CTEST_OUTPUT_ON_FAILURE")


@dataclass
class Result:
    """What one layer did. A failed step (a build that broke, say) counts as one failure."""

    passed: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Result) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.problems += other.problems

    def broken(self, problem: str) -> Result:
        self.failed += 1
        self.problems.append(problem)
        return self


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def environment(build: Path, **extra: str) -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if name not in SCRUBBED}
    values["CONCORDAT_SOURCE_DIR"] = str(SOURCE)
    values["CONCORDAT_BUILD_DIR"] = str(build)
    values["PYTHONDONTWRITEBYTECODE"] = "1"
    values.update(extra)
    return values


def run(command: list[str], env: dict[str, str] | None = None, output: Path | None = None) -> bool:
    print("+ " + " ".join(command), flush=True)
    if output is None:
        return subprocess.run(command, cwd=SOURCE, env=env, check=False).returncode == 0
    with open(output, "wb") as file:
        return subprocess.run(command, cwd=SOURCE, env=env, check=False, stdout=file, stderr=file).returncode == 0


def configure(preset: str) -> bool:
    # Configuring again is cheap and picks up folders that were added.
    return run(["cmake", "--preset", preset])


def build(preset: str, targets: list[str]) -> bool:
    say(f"building {', '.join(targets)} ({preset})")
    if not configure(preset):
        return False
    known = subprocess.run(
        ["ninja", "-C", str(BUILD / preset), "-t", "targets", "all"],
        capture_output=True, text=True, check=False).stdout
    names = {line.split(":")[0] for line in known.splitlines()}
    wanted = [target for target in targets if target in names]
    return not wanted or run(["ninja", "-C", str(BUILD / preset), "-j", JOBS, *wanted])


def count_junit(path: Path, what: str) -> Result:
    """Adds up a JUnit file; skipped and disabled tests are failures."""
    result = Result()
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        return result.broken(f"{what}: no readable result file ({error})")
    for case in cases:
        name = f"{case.get('classname', '')}.{case.get('name', '')}".lstrip(".")
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            result.broken(f"failed: {name}")
        elif "skipped" in tags or case.get("status") in ("notrun", "disabled"):
            result.broken(f"skipped or disabled: {name}")
        else:
            result.passed += 1
    return result


def fresh_folder(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def run_ctest(label: str, preset: str) -> Result:
    """Runs one ctest label. A GoogleTest program counts its own cases, any other program counts once."""
    folder = fresh_folder(RESULTS / preset / label)
    summary = folder / "ctest.xml"
    env = environment(
        BUILD / preset,
        GTEST_OUTPUT=f"xml:{folder}/",
        ASAN_OPTIONS="abort_on_error=0:detect_leaks=1:strict_string_checks=1",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
        CONCORDAT_SANITIZED="1" if preset == "asan" else "")
    succeeded = run(
        ["ctest", "--test-dir", str(BUILD / preset), "-L", f"^{label}$", "-j", "2", "--output-on-failure",
         "--no-tests=ignore", "--output-junit", str(summary)], env)

    result = Result()
    try:
        programs = list(ElementTree.parse(summary).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        programs = []
    for program in programs:
        name = program.get("name", "")
        detail = folder / f"{name}.xml"
        counted = count_junit(detail, name) if detail.exists() else Result(passed=1)
        if program.get("status") != "run" and counted.failed == 0:
            # It crashed, timed out or was never built: what it counted before that proves nothing.
            counted = Result().broken(f"{name}: {program.get('status')}")
        result.add(counted)
    if not succeeded and result.failed == 0:
        result.broken(f"ctest -L {label} failed")
    return result


def layer_of_cpp(label: str, preset: str = "release") -> Result:
    if not build(preset, [f"concordat_layer_{label}"]):
        return Result().broken(f"the build of the {label} tests failed")
    return run_ctest(label, preset)


def run_pytest(folder: str, timeout_seconds: int, output: Path | None = None) -> Result:
    """Runs the tests of a folder; `output`: a file that takes what it says."""
    path = SOURCE / "tests" / folder
    if not path.is_dir() or not any(path.rglob("test_*.py")):
        return Result()
    junit = fresh_folder(RESULTS / "pytest" / folder) / "pytest.xml"
    run([sys.executable, "-m", "pytest", str(path), "-q", "--maxfail=10", "--durations=5", "-p", "no:cacheprovider",
         f"--timeout={timeout_seconds}", f"--junitxml={junit}", "-o", "junit_family=xunit2",
         "-o", "xfail_strict=true"], environment(BUILD / "release"), output)
    return count_junit(junit, folder)


def run_side_by_side(folders: list[str], timeout_seconds: int) -> Result:
    """For tests that mostly wait. Two folders at a time; what each says is printed when it has ended."""
    if len(folders) == 1:
        return run_pytest(folders[0], timeout_seconds)
    result = Result()
    with tempfile.TemporaryDirectory(prefix="concordat-layers-") as scratch, ThreadPoolExecutor(2) as pool:
        outputs = [Path(scratch) / folder.replace("/", "-") for folder in folders]
        runs = [pool.submit(run_pytest, folder, timeout_seconds, output)
                for folder, output in zip(folders, outputs, strict=True)]
        for run_of_folder, output in zip(runs, outputs, strict=True):
            result.add(run_of_folder.result())
            if output.exists():
                print(output.read_text(encoding="utf-8", errors="replace"), flush=True)
    return result


def house() -> Result:
    return run_pytest("house", timeout_seconds=300)


def unit() -> Result:
    return layer_of_cpp("unit")


def golden() -> Result:
    return layer_of_cpp("golden")


def simulation() -> Result:
    return layer_of_cpp("simulation")


def models() -> Result:
    """Spin on the models, and the simulator's traces against their table of steps."""
    if not build("release", ["simulation_trace"]):
        return Result().broken("the build of simulation_trace failed")
    return run_pytest("models", timeout_seconds=600)


def integration() -> Result:
    # The folder that takes longest comes first.
    return processes("integration", ["integration/relay", "integration/postgres", "integration/api",
                                     "integration/orders"])


def fault() -> Result:
    return processes("fault", ["fault"])


def processes(label: str, folders: list[str]) -> Result:
    """Layers that start the real programs: those are built first, whole."""
    if not build("release", ["all"]):
        return Result().broken("the build of the programs failed")
    missed = {path.parent.relative_to(SOURCE / "tests") for path in (SOURCE / "tests" / label).rglob("test_*.py")}
    missed = {path for path in missed if not any(path.is_relative_to(folder) for folder in folders)}
    if missed:
        return Result().broken(f"the layer {label} leaves out {', '.join(map(str, sorted(missed)))}")
    result = run_ctest(label, "release")
    result.add(run_side_by_side(folders, timeout_seconds=600))
    return result


def package() -> Result:
    if not build("release", ["all"]):
        return Result().broken("the build of the programs failed")
    result = run_pytest("package", timeout_seconds=600)
    result.add(run_pytest("helm", timeout_seconds=60))
    return result


def sanitized() -> Result:
    """Unit, golden, simulation and fuzz tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    labels = ["unit", "golden", "simulation", "fuzz"]
    if not build("asan", [f"concordat_layer_{label}" for label in labels]):
        return Result().broken("the sanitized build failed")
    result = Result()
    for label in labels:
        counted = run_ctest(label, "asan")
        if counted.passed + counted.failed == 0:
            counted.broken(f"no {label} test ran under the sanitizers")
        result.add(counted)
    return result


LAYERS: dict[str, Callable[[], Result]] = {
    "house": house,
    "unit": unit,
    "golden": golden,
    "models": models,
    "simulation": simulation,
    "integration": integration,
    "fault": fault,
    "package": package,
    "sanitized": sanitized,
}


def run_layer(name: str) -> Result:
    say(f"layer {name}")
    started = time.monotonic()
    result = LAYERS[name]()
    if result.passed + result.failed == 0:
        result.broken("no test ran")
    result.seconds = time.monotonic() - started
    return result


def print_summary(results: dict[str, Result]) -> int:
    say("summary")
    for name, result in results.items():
        print(f"{name:<12} {result.passed:>6} passed {result.failed:>5} failed {result.seconds:>8.1f} s")
        for problem in result.problems:
            print(f"    {problem}")
    passed = sum(result.passed for result in results.values())
    failed = sum(result.failed for result in results.values())
    print(f"total time {sum(result.seconds for result in results.values()):.0f} s")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/test", description="Build and run the test layers; without arguments all of them.")
    parser.add_argument("layers", nargs="*", metavar="layer", help=", ".join(LAYERS))
    chosen = parser.parse_args().layers or list(LAYERS)
    for name in chosen:
        if name not in LAYERS:
            parser.error(f"unknown layer '{name}'; layers are {', '.join(LAYERS)}")
    return print_summary({name: run_layer(name) for name in chosen})


if __name__ == "__main__":
    sys.exit(main())
