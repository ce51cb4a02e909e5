"""What rules ask for arrives at a real cluster."""

from pathlib import Path

from .base import Cluster
from .controller import Controller, Job


def test_resources_arrive(slurm: Cluster, tmp_path: Path) -> None:
    all_but_one = ",".join(slurm.nodes[:3])
    jobs = {
        "gpu": Job("echo $CUDA_VISIBLE_DEVICES > gpu", resources={"gpu": 1, "gpu_model": "tesla"}),
        "gres": Job("echo $CUDA_VISIBLE_DEVICES > gres", resources={"gres": "gpu:tesla:2"}),
        "old": Job("echo $SLURMD_NODENAME > old", resources={"constraint": "old"}),
        "excluding": Job("echo $SLURMD_NODENAME > excluding", resources={"exclude": all_but_one}),
        "extra": Job("echo $SLURM_JOB_PARTITION > extra", resources={"slurm_partition": "urgent"}),
        # the command runs once, and starts its tasks itself
        "tasks": Job(
            "srun --nodes=2 --ntasks=2 hostname > tasks",
            threads=2,
            resources={"tasks": 2, "nodes": 2},
        ),
        "memory": Job(
            "scontrol show job $SLURM_JOB_ID | grep -o 'mem=[0-9]*M' > memory",
            resources={"mem_mb": 1234},
        ),
        "greeted": Job("echo $GREETING > greeted"),
        "named": Job("squeue --jobs=$SLURM_JOB_ID --noheader --format=%k > named"),
    }
    run = Controller(slurm, tmp_path, jobs)
    assert run.run("--submitit-setup", "export GREETING=hello") == 0, run.said
    said = {name: (tmp_path / name).read_text().split() for name in jobs}
    assert len(said["gpu"][0].split(",")) == 1
    assert said["gres"] == ["0,1"]
    assert said["old"][0] in {*slurm.nodes[:2]}
    assert said["excluding"] == [slurm.nodes[3]]
    assert said["extra"] == ["urgent"]
    assert len(said["tasks"]) == 2
    # newer versions say what was asked for and, once more, what was given
    assert set(said["memory"]) == {"mem=1234M"}
    assert said["greeted"] == ["hello"]
    assert said["named"][0] == "job_named"
