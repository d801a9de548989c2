"""What the simulator does is what the models were checked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import check_traces  # noqa: E402

SEEDS = 20


def test_the_simulator_takes_every_row_and_nothing_else(capsys):
    """What the code does in many faulty runs is what the models were checked for, all of it."""
    program = Path(os.environ["CONCORDAT_BUILD_DIR"]) / "bin" / "simulation_trace"
    replay = check_traces.Replay()
    with subprocess.Popen([program, "1", str(SEEDS)], stdout=subprocess.PIPE, text=True) as running:
        for run in check_traces.split_runs(running.stdout):
            replay.run(run)
    assert running.returncode == 0
    with capsys.disabled():
        print("\n" + replay.summary())
    assert replay.runs == SEEDS
    assert replay.missing() == []
