"""The crowds of ``benchmarks/visitors.py``, each a twentieth: nothing fails."""

from __future__ import annotations

import pytest

from benchmarks import visitors

pytestmark = [pytest.mark.deep, pytest.mark.linux]

FIRST_USED, AT_MOST = 100_000_000, 500_000_000  # bytes


def test_no_crowd_ends_the_studio_or_is_failed_by_it():
    for row in visitors.run(list(visitors.CROWDS), scale=0.05, settle=2.0, minutes=0.3):
        assert row.alive, row.name
        assert row.crowd.answers["failed"] == 0, (row.name, row.crowd.failures)
        assert row.crowd.answers["ok"] > 0, row.name
        assert float("inf") not in row.seconds, f"the host was refused beside {row.name}"
        # What a crowd takes is given back, but for what it is the first to use.
        assert row.after <= 1.15 * row.before + FIRST_USED, (row.name, row.before, row.after)
        assert row.peak <= row.before + AT_MOST, (row.name, row.before, row.peak)
