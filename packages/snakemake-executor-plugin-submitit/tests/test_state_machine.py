"""What the executor does in which order, on a made-up cluster that looks at the journal itself."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from submitit.core.utils import cloudpickle_dump

from snakemake_executor_plugin_submitit.adoption import Adoption
from snakemake_executor_plugin_submitit.cluster import Phase, State, SubmissionError
from snakemake_executor_plugin_submitit.executor import Executor
from snakemake_executor_plugin_submitit.jobs import Planned
from snakemake_executor_plugin_submitit.journal import Journal, Submission
from snakemake_executor_plugin_submitit.leftovers import Leftovers
from snakemake_executor_plugin_submitit.outcome import result_path
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.submissions import Reports, Submitter
from snakemake_executor_plugin_submitit.watch import Watch, Watched

RUNNING = State(Phase.ALIVE, "RUNNING")
REQUEST = Request(runtime=10, cpus=1, options=())


class FakeCluster:
    """Remembers what it was told, and what the journal said at that moment."""

    def __init__(self, journals: Path) -> None:
        self.journals = journals
        self.told: list[tuple[str, Any]] = []
        self.entries: list[list[dict[str, Any]]] = []
        self.alive: dict[str, State] = {}
        self.finished: set[str] = set()
        self.lingers = 0
        """Queries for which a cancelled job is still there."""
        self.fails: Exception | None = None
        self.largest_array = 100
        self.numbers = iter(range(1, 100))

    def journal(self) -> list[dict[str, Any]]:
        """Every line of every journal."""
        return [
            json.loads(line)
            for path in self.journals.glob("*/journal.jsonl")
            for line in path.read_text().splitlines()
        ]

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        del request, name
        self.entries.append(self.journal())
        self.told.append(("submit", tag))
        assert folder.is_dir()
        if self.fails:
            raise self.fails
        ids = [str(next(self.numbers)) for _ in commands]
        self.alive |= dict.fromkeys(ids, RUNNING)
        return ids

    def states(self, job_ids: Iterable[str], finished: Collection[str] = ()) -> dict[str, State]:
        ids = [*job_ids]
        self.finished = {*finished}
        self.told.append(("states", ids))
        if self.lingers > 0:
            self.lingers -= 1
            if self.lingers == 0:
                self.alive = {}
        return {job_id: self.alive[job_id] for job_id in ids if job_id in self.alive}

    def cancel(self, job_ids: Iterable[str]) -> None:
        self.told.append(("cancel", [*job_ids]))

    def cancel_tagged(self, tag: str) -> None:
        self.told.append(("cancel tagged", tag))

    def stop_waiting(self) -> None:
        self.told.append(("stop waiting", None))

    def acts(self) -> list[str]:
        return [what for what, _ in self.told]


class TestedExecutor(Executor):
    """The executor without Snakemake around it."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._settings = ExecutorSettings()
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir()
        self.now = 0.0
        self._watched: dict[str, Watched] = {}
        self._cancelling = False
        self._journal = Journal(self.store / "controllers")
        self.cluster = FakeCluster(self.store / "controllers")
        self._cluster = self.cluster
        self.said: list[str] = []
        self.logger = SimpleNamespace(info=self.said.append, warning=self.said.append)
        self.submitted: list[str] = []
        self.errors: list[str] = []
        self._submitter = Submitter(
            self.cluster, self._journal, self._settings, folder=folder,
            batches=self.store / "batches", reports=Reports(self._submitted, self._refuse),
            logger=self.logger,
        )  # fmt: skip
        self._adoption = Adoption(
            self.cluster, self._journal, name="slurm", abandon=self._submitter.abandon,
            patience=60, logger=self.logger,
        )  # fmt: skip
        self._watch = Watch(self.cluster, 0.0, self.logger, lambda: self.now)
        self._leftovers = Leftovers(folder / "logs", keep_logs=False)

    def ended(self, *jobs: Watched) -> list[Watched]:
        return self._watch.ended(jobs)

    def take_over(self, jobs: list[Planned]) -> list[Planned]:
        """Those that are left to be submitted."""
        adopted = self._adoption.take(jobs)
        for one, submission in adopted:
            self._submitted(one, submission)
        return [one for one in jobs if one not in [job for job, _ in adopted]]

    def close(self, one: Watched, failure: str | None = None) -> None:
        one.failure = failure
        self._close([one])

    def report_job_submission(self, info: Any, register_job: bool = True) -> None:
        del register_job
        self.submitted.append(info.job.name)

    def report_job_error(self, info: Any, msg: str | None = None, **_: Any) -> None:
        self.errors.append(f"{info.job.name}: {msg}")


@pytest.fixture
def executor(tmp_path: Path) -> TestedExecutor:
    return TestedExecutor(tmp_path)


def planned(name: str, folder: Path, fingerprint: str = "new") -> Planned:
    job: Any = SimpleNamespace(name=name)
    return Planned(
        job=job, request=REQUEST, key=f"{name}.out", fingerprint=fingerprint, title=name,
        logs=folder / "logs" / name, command=f"make {name}",
    )  # fmt: skip


def orphan(executor: TestedExecutor, name: str, job_id: str, fingerprint: str) -> None:
    """A job that this controller has taken over from one that died."""
    submission = Submission(
        job_id=job_id, cluster="slurm", folder=str(executor.store / "batches/old"),
        key=f"{name}.out", fingerprint=fingerprint, title=name, logs=str(executor.folder / "logs"),
    )  # fmt: skip
    executor._journal.submitting("old", [submission.key])
    executor._journal.submitted("old", [submission])
    executor.cluster.alive[job_id] = RUNNING


# submission


def test_a_submission_is_on_disk_before_the_cluster_hears_of_it(
    executor: TestedExecutor, tmp_path: Path
) -> None:
    executor._submitter.submit([planned("a", tmp_path), planned("b", tmp_path)])
    ((*_, tag),) = [words for words in executor.cluster.told if words[0] == "submit"]
    assert executor.cluster.entries == [[{"submitting": tag, "keys": ["a.out", "b.out"]}]]
    *_, last = executor.cluster.journal()
    assert last["submitted"] == tag
    assert [job["key"] for job in last["jobs"]] == ["a.out", "b.out"]
    assert executor.submitted == ["a", "b"]
    assert not executor._journal.unfinished


@pytest.mark.parametrize(
    "error", [SubmissionError("no such partition"), OSError("disk full"), KeyError("oops")]
)
def test_a_submission_that_fails_is_cancelled_by_its_tag_and_each_job_reported(
    executor: TestedExecutor, tmp_path: Path, error: Exception
) -> None:
    executor.cluster.fails = error
    executor._submitter.submit([planned("a", tmp_path), planned("b", tmp_path)])
    tags = {tag for _, tag in executor.cluster.told}
    assert executor.cluster.acts() == ["submit", "cancel tagged"]
    assert len(tags) == 1
    assert len(executor.errors) == 2
    assert all("Not submitted:" in one for one in executor.errors)
    assert not executor.submitted
    # nothing of it is left to take over
    assert not executor._journal.unfinished
    assert not executor._journal.live


def test_each_submission_has_a_tag_of_its_own(executor: TestedExecutor, tmp_path: Path) -> None:
    for name in "abc":
        executor._submitter.submit([planned(name, tmp_path)])
    assert len({tag for _, tag in executor.cluster.told}) == 3


@pytest.mark.parametrize(("runtime", "notice"), [(1, 0), (2, 60), (3, 90), (1440, 90)])
def test_notice_is_given_within_half_of_the_limit(
    executor: TestedExecutor, tmp_path: Path, runtime: int, notice: int
) -> None:
    one = planned("a", tmp_path)
    longer = Planned(**vars(one) | {"request": Request(runtime=runtime, cpus=1, options=())})
    command = executor._submitter._command(longer, "tag")
    assert (command.runtime, command.notice) == (60 * runtime, notice)
    assert command.tag == "tag"
    assert command.command == "make a"


# jobs of controllers that died


def test_a_job_that_makes_the_same_is_adopted_and_not_submitted_again(
    executor: TestedExecutor, tmp_path: Path
) -> None:
    orphan(executor, "a", "77", "same")
    jobs = executor.take_over([planned("a", tmp_path, "same"), planned("b", tmp_path)])
    assert [one.job.name for one in jobs] == ["b"]
    assert executor.submitted == ["a"]
    assert "cancel" not in executor.cluster.acts()
    assert set(executor._watched) == {"77"}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept; time goes on by as much."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    return slept


def test_an_outdated_job_is_gone_before_its_replacement_goes_out(
    executor: TestedExecutor, tmp_path: Path, pauses: list[float]
) -> None:
    orphan(executor, "a", "77", "old")
    executor.cluster.lingers = 4
    jobs = executor.take_over([planned("a", tmp_path)])
    for one in jobs:
        executor._submitter.submit([one])
    acts = executor.cluster.told
    cancelled = acts.index(("cancel", ["77"]))
    submitted = executor.cluster.acts().index("submit")
    asked = [i for i, (what, _) in enumerate(acts) if what == "states"]
    # it is asked for until it is gone, and only then is the other one submitted
    assert cancelled < submitted
    assert max(asked) < submitted
    assert sum(cancelled < i for i in asked) == 3
    assert len(pauses) == 2
    assert executor.submitted == ["a"]
    assert "77" not in executor._journal.live


def test_a_job_that_will_not_go_is_waited_for_as_long_as_it_takes(
    executor: TestedExecutor, tmp_path: Path, pauses: list[float]
) -> None:
    """Two jobs that make the same would write into each other's files."""
    orphan(executor, "a", "77", "old")
    executor.cluster.lingers = 200
    assert len(executor.take_over([planned("a", tmp_path)])) == 1
    assert 190 <= sum(pauses) <= 200
    assert executor.cluster.acts().count("cancel") == 4
    assert "submitit: waiting for cancelled jobs to end: 77" in executor.said


def test_a_job_that_never_starts_does_not_stay_beside_its_replacement(
    executor: TestedExecutor, tmp_path: Path, pauses: list[float]
) -> None:
    orphan(executor, "a", "77", "old")
    executor.cluster.alive["77"] = State(Phase.STUCK, "PENDING", "BadConstraints")
    executor.cluster.lingers = 3
    assert len(executor.take_over([planned("a", tmp_path)])) == 1
    assert ("cancel", ["77"]) in executor.cluster.told
    assert pauses


def test_a_scheduler_that_is_away_is_waited_for_before_anything_is_decided(
    executor: TestedExecutor,
    tmp_path: Path,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orphan(executor, "a", "77", "old")

    def away(*_: object, **__: object) -> dict[str, State]:
        raise OSError("squeue: away")

    monkeypatch.setattr(executor.cluster, "states", away)
    with pytest.raises(OSError, match="squeue: away"):
        executor.take_over([planned("a", tmp_path)])
    assert pauses == [1, 2, 4, 8, 16]
    assert executor.cluster.acts() == []
    # neither does the end of this run touch it
    executor.cancel_jobs([])
    assert executor.cluster.told[-1] == ("cancel", [])
    assert set(executor._journal.live) == {"77"}


def test_what_no_cluster_knows_any_more_is_forgotten(
    executor: TestedExecutor, tmp_path: Path, pauses: list[float]
) -> None:
    orphan(executor, "a", "77", "old")
    executor.cluster.alive = {}
    jobs = executor.take_over([planned("a", tmp_path)])
    assert len(jobs) == 1
    assert "cancel" not in executor.cluster.acts()
    assert not executor._journal.live
    assert not pauses


# status

Start = Callable[[str], Watched]


@pytest.fixture
def watched(executor: TestedExecutor, tmp_path: Path) -> Start:
    """Function that submits one job and gives what is known of it."""

    def watch(name: str) -> Watched:
        before = set(executor._watched)
        executor._submitter.submit([planned(name, tmp_path)])
        (new,) = set(executor._watched) - before
        return executor._watched[new]

    return watch


def _result(one: Watched, *result: str | None) -> None:
    cloudpickle_dump(result, result_path(one.submission.folder, one.submission.job_id))


def test_a_job_that_runs_is_neither_done_nor_failed(
    executor: TestedExecutor, watched: Start
) -> None:
    one = watched("a")
    one.ended_since = 3.0
    assert executor.ended(one) == []
    # it was only thought to have ended
    assert one.ended_since is None


@pytest.mark.parametrize("phase", [Phase.ENDED, None, Phase.STUCK])
def test_a_job_without_a_result_has_failed_after_the_grace(
    executor: TestedExecutor, watched: Start, phase: Phase | None
) -> None:
    executor._watch._grace = 30
    one = watched("a")
    job_id = one.submission.job_id
    if phase is None:
        executor.cluster.alive = {}
    else:
        executor.cluster.alive[job_id] = State(phase, "TIMEOUT")
    assert executor.ended(one) == []
    if phase is Phase.STUCK:
        executor.cluster.alive = {}
    else:
        executor.now += 29
        assert executor.ended(one) == []
        executor.now += 2
    assert executor.ended(one) == [one]
    assert one.failure
    # what may yet run is cancelled before it is reported, what has ended or is not known is not
    cancelled = [ids for what, ids in executor.cluster.told if what == "cancel"]
    assert cancelled == ([[job_id]] if phase is Phase.STUCK else [])


def test_a_failure_whose_job_is_still_there_is_gone_before_it_is_reported(
    executor: TestedExecutor, watched: Start
) -> None:
    one = watched("a")
    _result(one, "error", "Traceback\nCommandError: exit status 3")
    assert executor.ended(one) == []
    assert executor.cluster.told[-1] == ("cancel", [one.submission.job_id])
    executor.cluster.alive = {}
    assert executor.ended(one) == [one]
    assert one.failure == "exit status 3"


def test_a_success_is_told_by_its_result_once_the_scheduler_is_rid_of_it(
    executor: TestedExecutor, watched: Start
) -> None:
    one, other = watched("a"), watched("b")
    _result(one, "success", None)
    executor._watch._grace = 30
    executor.cluster.told.clear()
    assert executor.ended(one, other) == []
    del executor.cluster.alive[one.submission.job_id]
    assert executor.ended(one, other) == [one]
    assert one.failure is None
    # one query for both; of the one that has ended no accounting is asked
    ids = [one.submission.job_id, other.submission.job_id]
    assert executor.cluster.told == [("states", ids), ("states", ids)]
    assert executor.cluster.finished == {one.submission.job_id}


def test_a_scheduler_that_does_not_answer_ends_no_job(
    executor: TestedExecutor, watched: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = watched("a"), watched("b")
    _result(other, "success", None)

    def away(*_: object, **__: object) -> dict[str, State]:
        raise OSError("squeue: away")

    monkeypatch.setattr(executor.cluster, "states", away)
    one.ended_since = -1e9
    assert executor.ended(one, other) == []


def test_a_job_that_cannot_be_cancelled_is_reported_later(
    executor: TestedExecutor, watched: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watched("a")
    job_id = one.submission.job_id
    executor.cluster.alive[job_id] = State(Phase.STUCK, "PENDING", "BadConstraints")

    def refused(_: Iterable[str]) -> None:
        raise OSError("scancel: away")

    with monkeypatch.context() as patched:
        patched.setattr(executor.cluster, "cancel", refused)
        assert executor.ended(one) == []
    assert executor.ended(one) == []
    assert executor.cluster.told[-1] == ("cancel", [job_id])
    executor.cluster.alive = {}
    assert executor.ended(one) == [one]


def test_a_batch_is_cleared_away_once_all_its_jobs_have_succeeded(
    executor: TestedExecutor, tmp_path: Path
) -> None:
    executor._submitter.submit([planned("a", tmp_path), planned("b", tmp_path)])
    first, second = executor._watched.values()
    folder = Path(first.submission.folder)
    executor.close(first)
    assert folder.is_dir()
    executor.close(second)
    assert not folder.exists()
    assert not executor._journal.live


def test_a_batch_with_a_failure_stays(executor: TestedExecutor, tmp_path: Path) -> None:
    executor._submitter.submit([planned("a", tmp_path), planned("b", tmp_path)])
    first, second = executor._watched.values()
    executor.close(first, "exit status 3")
    executor.close(second)
    assert Path(first.submission.folder).is_dir()


# end


def test_the_end_cancels_what_is_there_and_what_was_being_submitted(
    executor: TestedExecutor, tmp_path: Path
) -> None:
    executor._submitter.submit([planned("a", tmp_path), planned("b", tmp_path)])
    executor._journal.submitting("halfway", ["c.out"])
    executor.cluster.told.clear()
    executor.cancel_jobs([])
    assert executor.cluster.told == [
        ("stop waiting", None), ("cancel tagged", "halfway"), ("cancel", ["1", "2"]),
    ]  # fmt: skip
    assert not executor._journal.live
    assert not executor._journal.unfinished


def test_what_cannot_be_cancelled_is_kept_for_the_next_controller(
    executor: TestedExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor._submitter.submit([planned("a", tmp_path)])

    def away(_: Iterable[str]) -> None:
        raise OSError("scancel: away")

    monkeypatch.setattr(executor.cluster, "cancel", away)
    executor.cancel_jobs([])
    assert set(executor._journal.live) == {"1"}
