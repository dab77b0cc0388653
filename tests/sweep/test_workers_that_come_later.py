"""A sweep on a cluster whose workers begin after it, as jobs of a batch system do."""

import time
from pathlib import Path
from threading import Thread

import pytest
from distributed import Client, LocalCluster
from tiny_models import write_checkpoints

import dvis
from dvis import measure


@pytest.mark.usefixtures("one_thread")
def test_workers_that_come_later_share_the_work(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "run", 6)
    store = tmp_path / "net.zarr"
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        sweep = Thread(
            target=measure.responses,
            args=("tiny_models:unhurried_net", tmp_path / "run"),
            kwargs={
                "layers": ["conv1"],
                "noise": 4,
                "input_size": 16,
                "store": store,
                "client": client,
            },
        )
        sweep.start()
        while sweep.is_alive() and not cluster.scheduler.tasks:
            time.sleep(0.1)
        cluster.scale(2)
        n_at_once = 0
        while sweep.is_alive():
            n_at_once = max(n_at_once, sum(map(bool, client.processing().values())))
            time.sleep(0.1)
    assert n_at_once == 2
    assert dvis.responses(store).response.notnull().all()
