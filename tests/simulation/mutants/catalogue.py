"""All seeded bugs, in the order of their numbers."""

from __future__ import annotations

from catalogue_core import CORE
from catalogue_database import DATABASE
from catalogue_log import LOG
from catalogue_sdk import SDK
from mutant import Mutant

MUTANTS: list[Mutant] = [*CORE, *LOG, *SDK, *DATABASE]
