"""Tables runs and histories, against the files that they gather."""

from pathlib import Path

import numpy as np
import pytest

from kdlm.errors import InputError
from kdlm.networks.resnet import ARCHITECTURES
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.jobs import network_jobs
from kdlm.study.schemas import table_path
from kdlm.tables.networks import networks
from kdlm.tables.runs import collect, histories, runs


def test_the_last_epoch_is_reported_beside_the_best(study: Study, folder: Path) -> None:
    table = runs(networks(study, folder, needs=()))
    assert len(table) == len(network_jobs(study))
    assert set(table["last_accuracy"]) == {0.6}
    assert set(table["best_accuracy"]) == {0.9}
    assert set(table["best_epoch"]) == {2}
    assert set(table["status"]) == {"finished"}


def test_logits_are_summed_up_as_they_are_on_the_test_set(study: Study, folder: Path) -> None:
    found = networks(study, folder, needs=())
    for network, row in zip(found, runs(found).to_dict("records"), strict=True):
        logits = read_table(network.folder / "logits.parquet", "logits")
        z = np.stack(logits.loc[logits["split"] == "test", "logits"].to_list()).astype(float)
        centred = np.array([row_ - row_.mean() for row_ in z])
        assert row["num_classes"] == z.shape[1]
        assert row["logit_mean"] == pytest.approx(z.mean())
        assert row["logit_rms"] == pytest.approx(np.sqrt((centred**2).mean()))
        assert row["logit_magnitude"] == pytest.approx(np.abs(z).mean())
        assert row["seed"] == int(network.job.keys["seed"])


def test_parameters_are_counted_without_running_statistics(study: Study, folder: Path) -> None:
    model = ARCHITECTURES["resnet8"](num_classes=10, in_channels=1)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert set(runs(networks(study, folder, needs=()))["parameters"]) == {count}


def test_every_history_bears_the_keys_of_its_network(study: Study, folder: Path) -> None:
    found = networks(study, folder, needs=())
    table = histories(found)
    assert len(table) == 7 * len(found)
    for network in found:
        keys = network.keys
        mine = table[np.logical_and.reduce([table[key] == value for key, value in keys.items()])]
        assert mine["epoch"].tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_a_missing_network_is_refused_by_the_job_and_said_by_the_table(
    study: Study, folder: Path
) -> None:
    lost = network_jobs(study)[2].folder / "history.parquet"
    (folder / lost).unlink()
    with pytest.raises(InputError, match=r"history\.parquet is missing"):
        collect(study, folder)
    found = networks(study, folder, needs=())
    table = runs(found)
    (row,) = table[table["status"] == "missing"].to_dict("records")
    assert str(lost) in row["reason"]
    assert np.isnan(row["last_accuracy"])
    assert row["epochs"] == 3
    assert len(histories(found)) == 7 * (len(found) - 1)


def test_no_weights_are_needed(study: Study, folder: Path) -> None:
    collect(study, folder)
    assert len(read_table(folder / table_path("runs"), "runs")) == len(network_jobs(study))
