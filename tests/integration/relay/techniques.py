#!/usr/bin/env python3
"""Takes one technique of the relay out at a time and shows that a test notices (O1–O14 in docs/reliability.md).

    build/venv/bin/python tests/integration/relay/techniques.py [--only O4] [--keep FOLDER] [--build build/release]

The sources are left alone: the edited files are compiled into a scratch folder, the program is linked with them
before its library, and the tests run with that program. A removal that no test notices, and an edit that no longer
fits the sources, are failures. Half a minute to four minutes each; a part of scripts/campaign.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from removals import REMOVALS

SOURCE = Path(__file__).resolve().parents[3]
TESTS = Path(__file__).resolve().parent
TEST_SECONDS = 240


class Broken(Exception):
    """The removal could not be tried."""


def patched(removal, scratch):
    """Writes the edited files below scratch; the names of those that are compiled."""
    sources = []
    for name, old, new in removal.edits:
        target = scratch / name
        text = (target if target.exists() else SOURCE / name).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise Broken(f"{name} does not hold exactly once: {old!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace(old, new), encoding="utf-8")
        if name.endswith(".cpp") and name not in sources:
            sources.append(name)
    return sources


def run(command, folder):
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"{command}\n{done.stdout}{done.stderr}")


def build(removal, scratch, folder):
    """The program with the edited files, in scratch/bin beside links to all others."""
    sources = patched(removal, scratch)
    commands = {entry["file"]: entry["command"]
                for entry in json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))}
    objects = []
    for name in sources:
        made = scratch / (name + ".o")
        command = commands[str(SOURCE / name)]
        command = re.sub(r" -o \S+ -c \S+$", f" -o {made} -c {scratch / name}", command)
        run(command.replace(" -Werror ", f" -I{scratch} -w ", 1), folder)
        objects.append(str(made))
    programs = scratch / "bin"
    programs.mkdir()
    for program in (folder / "bin").iterdir():
        if program.name != removal.program or not objects:
            (programs / program.name).symlink_to(program)
    if objects:
        listed = subprocess.run(["ninja", "-C", folder, "-t", "commands", f"bin/{removal.program}"],
                                capture_output=True, text=True, check=True).stdout.splitlines()
        link = next(line for line in reversed(listed) if f" -o bin/{removal.program} " in line)
        run(link.replace(f" -o bin/{removal.program} ", f" {' '.join(objects)} -o {programs / removal.program} ", 1), folder)


def migrations(scratch):
    """The SQL scripts, edited or not, in one folder."""
    whole = scratch / "all-migrations"
    shutil.copytree(SOURCE / "migrations", whole)
    if (scratch / "migrations").exists():
        shutil.copytree(scratch / "migrations", whole, dirs_exist_ok=True)
    return whole


def observe(removal, scratch):
    """(noticed, what the test said)"""
    if removal.test.startswith("unit:"):
        done = subprocess.run([scratch / "bin" / removal.program, f"--gtest_filter={removal.test[5:]}"],
                              capture_output=True, text=True, check=False, timeout=TEST_SECONDS)
        words = [line.strip() for line in done.stdout.splitlines() if "Failure" in line]
        return done.returncode == 1 and bool(words), words[0] if words else ""
    environment = {"CONCORDAT_RELAY_PATIENCE": "15", **os.environ, "CONCORDAT_BUILD_DIR": str(scratch),
                   "CONCORDAT_MIGRATIONS": str(migrations(scratch)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS}",
         str(TESTS / removal.test)], capture_output=True, text=True, check=False, env=environment)
    words = [line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    if done.returncode not in (0, 1) or " error" in done.stdout.splitlines()[-1]:
        raise Broken(done.stdout[-3000:] + done.stderr[-1000:])
    return done.returncode == 1, words[0] if words else ""


def main():
    parser = argparse.ArgumentParser(description="Takes the relay's techniques out, one at a time.")
    parser.add_argument("--only", default="", help="names that begin with this, e.g. O4 or O10a")
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "release")
    parser.add_argument("--keep", type=Path, help="scratch folder that is not removed")
    chosen = parser.parse_args()
    wanted = [removal for removal in REMOVALS if removal.name.startswith(chosen.only)]
    if not wanted:
        parser.error(f"no removal begins with {chosen.only!r}")
    survivors = 0
    print("| removed | noticed by | what failed | s |\n|---|---|---|---|", flush=True)
    for removal in wanted:
        started = time.monotonic()
        root = chosen.keep or Path(tempfile.mkdtemp(prefix="concordat-relay-removal-"))
        scratch = root / removal.name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            build(removal, scratch, chosen.build.resolve())
            noticed, words = observe(removal, scratch)
        except Broken as problem:
            noticed, words = False, f"NOT TRIED: {problem}"
        finally:
            if not chosen.keep:
                shutil.rmtree(root, ignore_errors=True)
        survivors += not noticed
        test = removal.test.split("::")[-1].removeprefix("unit:")
        said = words[:110].replace("|", "/") if noticed else f"NOBODY NOTICED {words}"
        print(f"| {removal.name} {removal.technique} | `{test}` | {said} | {time.monotonic() - started:.0f} |", flush=True)
    print(f"\n{len(wanted) - survivors} of {len(wanted)} removals were noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
