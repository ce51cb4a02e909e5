"""Whatever a valid config asks for, its claims and figures can be made."""

import copy
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from kdlm.claims import judge_study
from kdlm.figures import FIGURES, draw
from kdlm.storage.parquet import read_table, write_table
from kdlm.study.config import Study, parse
from kdlm.study.jobs import init_means_jobs, network_jobs
from kdlm.tables.comparisons import compare_study
from kdlm.tables.init_means import summarise_study
from kdlm.tables.runs import collect
from kdlm.tables.theory import measure
from tests.tables import made_up_study

Config = dict[str, Any]


def _means(study: Study, folder: Path) -> None:
    """Made-up shards: one layer of each kind, other numbers for every seed."""
    for job in init_means_jobs(study):
        spec = job.spec
        rows = [
            {"seed": seed, "layer": kind, "depth": depth, "kind": kind,
             "mean": 0.01 * ((seed * 7 + depth) % 5 - 2), "sd_over_images": 0.1, "rms": 1.0,
             "predicted_sd": 0.02 if kind == "linear" else None}
            for seed in range(spec.first_seed, spec.first_seed + spec.seeds)
            for depth, kind in enumerate(("convolution", "batchnorm", "linear"))
            if kind == "linear" or seed < study.init_means.layer_seeds
        ]  # fmt: skip
        write_table(
            "means", rows, folder / job.folder / "means.parquet", spec.model_dump(mode="json")
        )


def made(config: Config, folder: Path) -> Study:
    """A study with made-up results of every job, gathered and judged."""
    study = parse(config)
    made_up_study.write(study, folder)
    _means(study, folder)
    collect(study, folder)
    compare_study(study, folder)
    summarise_study(study, folder)
    measure(study, folder)
    judge_study(study, folder)
    return study


ARM = {
    "teacher": "resnet8-he-short", "architecture": "resnet8", "initialisation": "he",
    "recipe": "short", "losses": ["kd"], "temperatures": [4], "seeds": [0, 1],
}  # fmt: skip
ODD: dict[str, list[dict[str, Any]]] = {
    "KD at one temperature": [{}],
    "KD at inf only": [{"temperatures": [float("inf")]}],
    "CE only": [{"losses": ["ce"], "temperatures": []}],
    "no LM": [{"losses": ["ce", "kd"], "temperatures": [1, 4]}],
    "one seed": [{"losses": ["kd", "lm"], "temperatures": [4, 16], "seeds": [0]}],
    "a gap and nothing without it": [{"losses": ["kd", "lm"], "mean_gaps": [5]}],
    "another initialisation": [{"losses": ["kd", "lm"], "initialisation": "xavier"}],
    "a ladder and nothing else": [{"relative_perturbations": [1e-6, 1e-4]}],
    "a ladder without the student that it starts from": [
        {"losses": ["kd", "lm"]},
        {"temperatures": [float("inf")], "relative_perturbations": [1e-6]},
    ],
    "natural means": [{"losses": ["kd", "lm"], "means": ["natural"]}],
    "the kin of KD only": [{"losses": ["reverse-kd", "standardised-kd"]}],
}


def _config(config: Config, arms: list[dict[str, Any]]) -> Config:
    config["arms"] = [ARM | arm for arm in arms]
    config["recipes"]["short"]["epochs"] = 1
    config["init_means"]["batchnorm"] = ["eval"]
    config["theory"]["samples"] = 5
    return config


QUICK = ("KD at one temperature", "CE only")


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in ODD if one not in QUICK)],
)
def test_a_config_that_asks_for_little_ends_with_claims_and_figures(
    name: str, config: Config, tmp_path: Path
) -> None:
    mpl.use("agg")
    study = made(_config(config, ODD[name]), tmp_path)
    claims = read_table(tmp_path / "claims.parquet", "claims")
    assert set(claims["verdict"]) <= {"supported", "refuted", "inconclusive"}
    for figure in FIGURES:
        draw(figure, study, tmp_path)
        plt.close("all")
        assert (tmp_path / f"figures/{figure}.svg").stat().st_size > 1000


LOSSES = ("ce", "kd", "lm", "centred-lm", "regularised-lm-printed", "standardised-kd")


@st.composite
def _arms(draw_: st.DrawFn) -> list[dict[str, Any]]:
    arms = []
    for _ in range(draw_(st.integers(1, 3))):
        losses = draw_(st.lists(st.sampled_from(LOSSES), min_size=1, max_size=3, unique=True))
        tempered = bool({"kd", "standardised-kd"} & set(losses))
        temperatures = st.lists(
            st.sampled_from([1.0, 4.0, 1e4, float("inf")]), min_size=1, max_size=3, unique=True
        )
        means = draw_(st.sampled_from(["trained-teacher", "untrained-teacher", "natural"]))
        gaps = [[0]] if means == "natural" else [[0], [5], [0, 5]]
        ulps = draw_(st.sampled_from([[0], [1], [0, 1]]))
        rungs = [[0]] if any(ulps) else [[0], [1e-6, 1e-4], [0, 1e-4]]
        arms.append(
            {
                "losses": losses,
                "temperatures": draw_(temperatures) if tempered else [],
                "means": [means],
                "mean_gaps": draw_(st.sampled_from(gaps)),
                "perturbations": ulps,
                "relative_perturbations": draw_(st.sampled_from(rungs)),
                "initialisation": draw_(st.sampled_from(["he", "he-centred"])),
                "seeds": draw_(st.sampled_from([[0], [0, 1], [1, 2, 3]])),
            }
        )
    return arms


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(arms=_arms())
def test_any_small_config_ends_with_claims_and_figures(
    tmp_path_factory: pytest.TempPathFactory, tiny: Config, arms: list[dict[str, Any]]
) -> None:
    mpl.use("agg")
    folder = tmp_path_factory.mktemp("study")
    study = made(_config(copy.deepcopy(tiny), arms), folder)
    assert len(read_table(folder / "tables/runs.parquet", "runs")) == len(network_jobs(study))
    for figure in FIGURES:
        draw(figure, study, folder)
        plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["KD at one temperature", "CE only"])
def test_two_of_them_run_whole(name: str, snakemake: Any, config: Config, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(_config(config, ODD[name])))
    run = snakemake(tmp_path, "--configfile", "odd.yaml")
    assert run.returncode == 0, run.stdout[-3000:]
    for figure in FIGURES:
        assert (tmp_path / f"results/tiny/figures/{figure}.png").is_file()
