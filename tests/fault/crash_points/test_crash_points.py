"""Crash-point matrix: a process dies by SIGKILL at a named point of the protocol, and comes back.

Each case is one point in one role at one passage (crash_matrix.py). Afterwards nodes, databases and clients agree on
one outcome, it is one that the protocol allows at that point, no branch is left prepared, and new transactions work.

CONCORDAT_CRASH_REPEAT repeats every case (a campaign); the matrix with what was seen is written to
<build>/results/crash-points.txt.
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, Queue
from tempfile import mkdtemp

import pytest
from crash_matrix import all_cases
from crash_stage import Stage
from crash_stories import run
from stack import build_directory

REPEAT = int(os.environ.get("CONCORDAT_CRASH_REPEAT", "1"))
LANES = 3


class Lanes:
    """Runs the chosen cases on several stages side by side, for a case mostly waits: for elections and restarts.

    A lane is a thread, and stages live and die in it, because their processes die with the thread that started them.
    A case that fails costs its lane the stage, which the next one must not find in disorder. A stage gets a folder of
    its own below `folder`; pytest's factory of folders would not do here, for it serves one thread only.
    """

    def __init__(self, folder: Path, cases) -> None:
        self.folder = folder
        self.reports = {case: Future() for case in cases}
        self._waiting = Queue()
        for case in cases:
            self._waiting.put(case)
        self._lanes = [threading.Thread(target=self._work) for _ in range(min(LANES, len(cases)))]
        for lane in self._lanes:
            lane.start()

    def _work(self) -> None:
        stage = None
        while True:
            try:
                case = self._waiting.get_nowait()
            except Empty:
                break
            try:
                stage = stage or Stage(Path(mkdtemp(prefix="stage-", dir=self.folder)))
                self.reports[case].set_result([run(stage, case) for _ in range(REPEAT)])
            except BaseException as error:  # belongs to the test of this case
                self.reports[case].set_exception(error)
                if stage is not None:
                    stage.close()
                stage = None
        if stage is not None:
            stage.close()

    def close(self) -> None:
        """Ends after the cases that are running."""
        with contextlib.suppress(Empty):
            while True:
                self._waiting.get_nowait()
        for lane in self._lanes:
            lane.join()


@pytest.fixture(scope="module")
def lanes(request, tmp_path_factory):
    chosen = [item.callspec.params["case"] for item in request.session.items
              if item.path == request.path and "case" in item.callspec.params]
    opened = Lanes(tmp_path_factory.mktemp("crash-points"), chosen)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def table():
    """Rows of the matrix, printed and written when the last case is done."""
    rows = []
    yield rows
    head = ("protocol", "story", "role", "point", "k", "hits", "outcome", "settled ms", "case ms")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in [head, *rows])
    results = build_directory().parent / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "crash-points.txt").write_text(f"{text}\n")
    print(f"\n{text}\n{len(rows)} crashes, written to {results / 'crash-points.txt'}")


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.label)
def test_a_crash_at_this_point_leaves_one_outcome(lanes, table, case):
    """The point is reached, its process dies there, and everybody agrees afterwards."""
    for report in lanes.reports[case].result():
        table.append((f"{case.protocol}x{len(case.branches)}", case.story, case.role, case.name, str(case.k),
                      str(report.hits), report.outcome, f"{report.settle_seconds * 1000:.0f}",
                      f"{report.seconds * 1000:.0f}"))
