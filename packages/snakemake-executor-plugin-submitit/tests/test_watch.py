"""Jobs that wait for a person, and jobs that do not leave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from submitit.core.utils import cloudpickle_dump

from snakemake_executor_plugin_submitit.cluster import Phase, State
from snakemake_executor_plugin_submitit.journal import Submission
from snakemake_executor_plugin_submitit.outcome import result_path
from snakemake_executor_plugin_submitit.slurm import _parse_squeue
from snakemake_executor_plugin_submitit.watch import SILENCE, Delays, Watch, Watched

GRACE = 5.0


@dataclass
class _Log:
    lines: list[str] = field(default_factory=list)

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = info


@dataclass
class _Time:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class _Scheduler:
    known: dict[str, State] = field(default_factory=dict)
    cancelled: list[list[str]] = field(default_factory=list)
    queries: int = 0
    away: bool = False

    def states(self, job_ids: Any, finished: Any = ()) -> dict[str, State]:
        del finished
        self.queries += 1
        if self.away:
            raise OSError("squeue: connect failure")
        return {job_id: self.known[job_id] for job_id in job_ids if job_id in self.known}

    def cancel(self, job_ids: Any) -> None:
        self.cancelled.append(list(job_ids))


def _watch(scheduler: _Scheduler, time: _Time, log: _Log) -> Watch:
    cluster: Any = scheduler
    return Watch(cluster, GRACE, log, time)


def _states(state: str, reason: str, count: int) -> dict[str, State | None]:
    rows = [f"{n:<40}{state:<20}{reason:<60}{'0':<12}" for n in range(count)]
    return dict(_parse_squeue("\n".join(rows)))


@pytest.mark.fault(
    "jobs that only a person can let go",
    area="cluster",
    provoked="jobs held, suspended, requeued in held state, in a closed partition, at a limit",
)
@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("PENDING", "JobHeldUser", "JobHeldUser; `scontrol release` lets them go"),
        ("PENDING", "JobHeldAdmin", "JobHeldAdmin; an administrator holds them"),
        ("PENDING", "PartitionDown", "PartitionDown; the partition takes jobs but starts none"),
        ("PENDING", "job requeued in held state", "job requeued in held state; `scontrol release`"),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:h[1-4]", "ReqNodeNotAvail; nodes that they"),
        ("PENDING", "AssocGrpCPUMinutesLimit", "AssocGrpCPUMinutesLimit ("),
        ("PENDING", "AssocMaxJobsLimit", "AssocMaxJobsLimit ("),
        ("SUSPENDED", "None", "SUSPENDED; `scontrol resume` lets them go on"),
        ("REQUEUE_HOLD", "None", "REQUEUE_HOLD ("),
        ("RESV_DEL_HOLD", "None", "RESV_DEL_HOLD; their reservation is gone"),
    ],
)
def test_what_waits_for_a_person_is_said(
    state: str, reason: str, said: str, observed: Callable[[str], None]
) -> None:
    log, time = _Log(), _Time()
    delays = Delays(log, time)
    delays.look(_states(state, reason, 5))
    time.now = SILENCE - 1
    delays.look(_states(state, reason, 5))
    assert log.lines == []
    for now in (SILENCE, SILENCE + 5, 3 * SILENCE):
        time.now = now
        delays.look(_states(state, reason, 5))
    (line,) = log.lines
    assert line.startswith(f"submitit: 5 jobs wait for more than 5 minutes: {said}")
    assert line.endswith("(0, 1, 2, …)")
    # again when it changes, and not every round
    delays.look(_states(state, reason, 4))
    delays.look(_states(state, reason, 3))
    assert [line.split()[1] for line in log.lines] == ["5", "4"]
    time.now += SILENCE
    delays.look(_states(state, reason, 1))
    assert log.lines[2].startswith("submitit: 1 job waits ")
    observed("after five minutes one line a reason, with their number; again when it changes")


@pytest.mark.parametrize(
    "reason", ["Priority", "Resources", "None", "BeginTime", "JobArrayTaskLimit", "Dependency"]
)
def test_what_ends_by_itself_is_not_said(reason: str) -> None:
    log, time = _Log(), _Time()
    delays = Delays(log, time)
    for now in range(0, 100_000, 1000):
        time.now = now
        delays.look(_states("PENDING", reason, 5))
        delays.look(_states("RUNNING", "None", 5))
    assert log.lines == []


def _watched(folder: Path, job_id: str, *left: Any) -> Watched:
    submission = Submission(
        job_id=job_id,
        cluster="slurm",
        folder=str(folder),
        key=job_id,
        fingerprint="f",
        title="t",
        logs="logs",
    )
    if left:
        cloudpickle_dump(left, result_path(str(folder), job_id))
    info: Any = SimpleNamespace()
    return Watched(info, submission)


def _alive(name: str, detail: str = "") -> State:
    return State(Phase.ALIVE, name, detail)


def test_what_has_succeeded_leaves_first(tmp_path: Path) -> None:
    scheduler, time = _Scheduler(), _Time()
    watch = _watch(scheduler, time, _Log())
    names = ("gone", "ends", "again", "hangs", "preempted")
    jobs = [_watched(tmp_path, name, "success", None) for name in names]
    gone, ends, again, hangs, preempted = jobs
    scheduler.known = {
        "ends": State(Phase.ENDED, "COMPLETED", "exit 0:0"),
        "again": _alive("PENDING", "BeginTime"),
        "hangs": _alive("RUNNING"),
        "preempted": State(Phase.ENDED, "PREEMPTED"),
    }
    assert watch.ended(jobs) == [gone, ends]
    assert watch.leaving
    assert scheduler.cancelled == [["again", "preempted"]]
    scheduler.known["again"] = _alive("COMPLETING")
    assert watch.ended([again, hangs, preempted]) == [again, preempted]
    assert len(scheduler.cancelled) == 1
    time.now = GRACE
    assert watch.ended([hangs]) == []
    assert not watch.leaving
    assert scheduler.cancelled[1:] == [["hangs"]]
    # cancelled once, and once more where that was of no use
    for now in (GRACE + 10, GRACE + 30):
        time.now = now
        assert watch.ended([hangs]) == []
    assert scheduler.cancelled[2:] == [["hangs"]]
    del scheduler.known["hangs"]
    assert watch.ended([hangs]) == [hangs]
    assert {one.failure for one in jobs} == {None}
    assert scheduler.queries == 6


def test_what_has_failed_leaves_first(tmp_path: Path) -> None:
    """Snakemake deletes its outputs, and may try again."""
    scheduler, time = _Scheduler(), _Time()
    watch = _watch(scheduler, time, _Log())
    stuck = _watched(tmp_path, "stuck")
    scheduler.known = {"stuck": State(Phase.STUCK, "PENDING", "InvalidQOS")}
    assert watch.ended([stuck]) == []
    assert scheduler.cancelled == [["stuck"]]
    scheduler.known = {"stuck": _alive("COMPLETING")}
    assert watch.ended([stuck]) == []
    time.now = GRACE
    assert watch.ended([stuck]) == [stuck]
    assert stuck.failure == "Slurm will not start it: PENDING (InvalidQOS)"


def test_nothing_is_reported_while_the_scheduler_is_away(tmp_path: Path) -> None:
    scheduler, log = _Scheduler(away=True), _Log()
    watch = _watch(scheduler, _Time(), log)
    done = _watched(tmp_path, "done", "success", None)
    assert watch.ended([done]) == [] == watch.ended([done])
    scheduler.away = False
    assert watch.ended([done]) == [done]
    assert len(log.lines) == 2
