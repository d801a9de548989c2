"""The campaign that takes the relay's techniques out one by one must still fit the sources."""

import pytest

from removals import REMOVALS
from techniques import patched


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_an_edit_fits_the_sources(removal, tmp_path):
    """Each text that is taken out stands in its file exactly once; otherwise the removal shows nothing."""
    sources = patched(removal, tmp_path)
    assert sources or all(name.endswith(".sql") for name, _, _ in removal.edits)
