"""What a job's resources ask of Slurm."""

import shlex
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.resources import FORBIDDEN, INSTEAD, request


def _options(**resources: Any) -> dict[str, str | bool]:
    return dict(request(1, resources).options)


def test_nothing_is_asked_for_that_nobody_named() -> None:
    bare = request(3, {"_cores": 3, "_nodes": 1, "tmpdir": "/tmp", "disk_mb": 1000})  # noqa: S108
    assert (bare.runtime, bare.cpus, bare.options) == (60, 3, ())
    assert request(0, {}).cpus == 1


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({"mem_mb": 2000}, {"mem": "2000M"}),
        ({"mem_mb": 5}, {"mem": "300M"}),
        ({"mem_mb": 2000.2}, {"mem": "2001M"}),
        ({"mem_mb_per_cpu": 50}, {"mem-per-cpu": "300M"}),
        ({"mem_mb_per_cpu": 50, "cpus_per_task": 4}, {"mem-per-cpu": "75M"}),
        ({"mem_mb_per_cpu": 500, "mem_mb": 1000}, {"mem-per-cpu": "500M"}),
        ({"nodes": 2, "tasks": 8}, {"nodes": "2", "ntasks": "8"}),
        ({"nodes": 2}, {"nodes": "2"}),
        ({"tasks": 8}, {"nodes": "1-8", "ntasks": "8"}),
        ({"partition": "of a graph", "slurm_partition": "long"}, {"partition": "long"}),
        ({"gpu": 2}, {"gres": "gpu:2"}),
        ({"gpu": 2, "gpu_model": "a100"}, {"gres": "gpu:a100:2"}),
        ({"gpu": 0}, {}),
        ({"gpu": 0, "gres": "tape:1"}, {"gres": "tape:1"}),
        ({"slurm_partition": "long,short"}, {"partition": "long,short"}),
        ({"slurm_account": "physics"}, {"account": "physics"}),
        ({"qos": "low"}, {"qos": "low"}),
        ({"constraint": "a100&nvlink"}, {"constraint": "a100&nvlink"}),
        ({"reservation": "course"}, {"reservation": "course"}),
        ({"exclude": "node[1-3]"}, {"exclude": "node[1-3]"}),
        ({"slurm_partition": "", "qos": None}, {}),
        ({"slurm_extra": ""}, {}),
        (
            {"slurm_extra": "--mail-user=me@there '--nodelist=n[1-2]' --exclusive --wckey=' a b'"},
            {"mail-user": "me@there", "nodelist": "n[1-2]", "exclusive": True, "wckey": " a b"},
        ),
    ],
)
def test_options(resources: dict[str, Any], options: dict[str, str | bool]) -> None:
    assert _options(**resources) == options


@pytest.mark.fault(
    "resources in the words of other plugins and of sbatch",
    area="cluster",
    provoked="clusters, time, walltime, ntasks, mem_per_cpu, slurm_qos, mpi, … of a rule",
)
def test_no_name_of_a_schedulers_is_ignored(observed: Callable[[str], None]) -> None:
    names = [
        "clusters",
        "time",
        "walltime",
        "ntasks",
        "mem_per_cpu",
        "cpus_per_gpu",
        "tasks_per_gpu",
        "slurm_qos",
        "slurm_constraint",
        "time_min",
        "ntasks_per_node",
        "gpu_manufacturer",
        "job_name",
        "slurm_whatever",
    ]
    for name in names:
        with pytest.raises(ValueError, match=f"the resource {name} has no effect; "):
            request(1, {name: 8})
    observed("refused by name, with the name that counts here; a workflow's own ones are free")


def test_a_workflows_own_resources_are_free() -> None:
    own = {"downloads": 1, "licenses": 2, "network": 1, "priority": 3, "io": 10, "disk_mb": 5}
    assert _options(**own) == {}


def test_words_of_other_plugins_beside_ours() -> None:
    """As in a workflow for several of them."""
    both = {"partition": "long", "slurm_partition": "long", "cpus_per_gpu": 8, "mpi": "srun"}
    asked = dict(request(8, both | {"tasks": 2}).options)
    assert asked == {"partition": "long", "ntasks": "2", "nodes": "1-2"}


def test_nodes_by_name() -> None:
    assert _options(nodelist="h[1-2]") == {"nodelist": "h[1-2]"}
    with pytest.raises(ValueError, match="gives --nodelist twice"):
        request(1, {"nodelist": "h1", "slurm_extra": "--nodelist=h2"})


def test_runtime_and_cpus() -> None:
    assert request(2, {"runtime": 90}).runtime == 90
    assert request(2, {"cpus_per_task": 8}).cpus == 8
    assert request(2, {"runtime": 1.5}).runtime == 2


@pytest.mark.parametrize(
    "gres", ["gpu", "gpu:1", "gpu:a100:2", "gpu:a100", "gpu:a100_3g.20gb:1", "gpu:1,shard:2"]
)
def test_gres(gres: str) -> None:
    assert _options(gres=gres) == {"gres": gres}


@pytest.mark.parametrize(
    "gres", ["gpu:", ":1", "gpu 1", "gpu:1,", "gpu:a:b:1", "gpu:1\n--x", "gpu:1;"]
)
def test_gres_refused(gres: str) -> None:
    with pytest.raises(ValueError, match="gres is "):
        request(1, {"gres": gres})


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            {"partition": "long"},
            "the resource partition has no effect; its name here is slurm_part",
        ),
        ({"clusters": "gpu2"}, "the resource clusters has no effect; submit from a login node of"),
        ({"time": 480}, "the resource time has no effect; its name here is runtime$"),
        ({"time_min": 480}, "its name here is runtime$"),
        ({"walltime": "8:00:00"}, "the resource walltime has no effect; its name here is runtime$"),
        ({"ntasks": 4}, "its name here is tasks$"),
        ({"ntasks_per_node": 4}, "its name here is tasks$"),
        ({"tasks_per_gpu": 4}, "its name here is tasks$"),
        ({"mem_per_cpu": "2G"}, "its name here is mem_mb_per_cpu$"),
        ({"cpus_per_gpu": 8}, "its name here is threads$"),
        ({"slurm_qos": "long"}, "the resource slurm_qos has no effect; its name here is qos$"),
        ({"slurm_constraint": "a100"}, "its name here is constraint$"),
        ({"slurm_mail_type": "ALL"}, "slurm_mail_type has no effect; options of sbatch that no"),
        ({"gpu_manufacturer": "nvidia"}, "its name here is gpu_model$"),
        ({"job_name": "mine"}, "jobs are named after their rules; a prefix is given by --submitit"),
        ({"mpi": "srun"}, "mpi is given, but tasks, the number of its processes, is not$"),
        ({"gpus_per_task": 1}, "the resource gpus_per_task has no effect; its name here is gpu$"),
        ({"slurm_extra": "--arra=1-9"}, "--arra would break"),
        ({"slurm_extra": "--par=long"}, "--par is said by the resource slurm_partition"),
        ({"gpu": 1, "gres": "gpu:1"}, "gpu and gres are both given"),
        ({"gpu_model": "a100"}, "gpu_model is 'a100', but gpu"),
        ({"mem_mb": "lots"}, "mem_mb is 'lots'; a number is needed"),
        ({"mem_mb": True}, "mem_mb is True; a number is needed"),
        ({"runtime": float("nan")}, "runtime is nan; a number is needed"),
        ({"runtime": 0}, "runtime is 0; it must be at least 1"),
        ({"tasks": -1}, "tasks is -1; it must be at least 1"),
        ({"gpu": -1}, "gpu is -1; it must be at least 1"),
        ({"slurm_extra": "-p long"}, "'-p' is not of the form"),
        ({"slurm_extra": "--exclusive node"}, "'node' is not of the form"),
        ({"slurm_extra": "--licenses=a --licenses=b"}, "gives --licenses twice"),
        ({"slurm_extra": "--licenses='a"}, "No closing quotation"),
    ],
)
def test_refused(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        request(1, resources)


@pytest.mark.parametrize("option", sorted(INSTEAD))
def test_an_option_that_has_a_resource(option: str) -> None:
    with pytest.raises(ValueError, match=f"--{option} is said by the resource {INSTEAD[option]}$"):
        request(1, {"slurm_extra": f"--{option}=1"})


@pytest.mark.parametrize("option", sorted(FORBIDDEN))
def test_an_option_that_would_break_the_plugin(option: str) -> None:
    for word in (f"--{option}", f"--{option}=1"):
        with pytest.raises(ValueError, match=f"--{option} would break"):
            request(1, {"slurm_extra": word})


NAMES = st.text(string.ascii_lowercase, min_size=1).map("x-".__add__)


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["C"]))))
def test_extra_options_arrive_as_they_were_meant(extra: dict[str, str]) -> None:
    words = [f"--{name}={value}" for name, value in extra.items()]
    assert _options(slurm_extra=shlex.join(words)) == extra


@pytest.mark.parametrize(("resource", "wanted"), [({}, True), ({"requeue": 0}, False)])
def test_requeue(resource: dict[str, int], *, wanted: bool) -> None:
    assert request(1, resource).requeue is wanted


def test_equal_requests_share_an_array() -> None:
    one = request(
        1, {"slurm_partition": "a", "mem_mb": 500, "slurm_extra": "--wckey=1 --licenses=2"}
    )
    two = request(
        1, {"slurm_extra": "--licenses=2 --wckey=1", "mem_mb": 500, "slurm_partition": "a"}
    )
    assert one == two
    assert hash(one) == hash(two)
