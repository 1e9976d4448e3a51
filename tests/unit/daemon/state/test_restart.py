"""What a start makes of what the ledger says was under way. Pure."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.state_driver import IMG, RUN, SETTINGS, Driver, entry, stream, target

from panoseti_zarr.daemon.state.events import Connected
from panoseti_zarr.daemon.state.instructions import StartL1
from panoseti_zarr.daemon.state.records import StreamStatus
from panoseti_zarr.daemon.status.ledger import Ledger, rows_of


@pytest.mark.parametrize("is_removed", [False, True])
def test_an_l1_is_made_though_its_files_are_gone(tmp_path: Path, is_removed: bool) -> None:
    """The store was closed: it is whole, whenever the run's directory went."""
    driver = Driver()
    driver.listed(stream(IMG))
    assert StartL1(target(IMG, l1=True)) in driver.ingested(IMG)
    if is_removed:
        driver.root(entry("other.pffd"))
    ledger = Ledger(tmp_path)
    ledger.save([rows_of(driver.state.runs[RUN], 0)], ())
    after = Driver(SETTINGS, ready=False, runs=ledger.load(0))
    ledger.close()
    out = after.root(entry("other.pffd"))
    out += after.send(Connected, n_slots=2) + after.outputs()
    assert [(i.target.run, i.target.stream) for i in out if isinstance(i, StartL1)] == [(RUN, IMG)]
    after.l1_made(IMG)
    assert after.status(IMG) is StreamStatus.REMOVED
    assert after.state.runs[RUN].state == "removed"
