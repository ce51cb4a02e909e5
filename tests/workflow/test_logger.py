"""What Snakemake prints with the logger of the profiles: on a terminal, without one, in a file."""

import io
import logging
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_kdlm import LogHandler
from snakemake_logger_plugin_kdlm.bookkeeping import Bookkeeping, Row, last_lines
from snakemake_logger_plugin_kdlm.screen import chosen

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "workflow/profiles"

SNAKEFILE = """
rule all:
    input: expand("out/loss={loss}/seed={seed}", loss=["kd", "lm"], seed=[0, 1, 2])

rule train:
    output: "out/loss={loss}/seed={seed}"
    log: "logs/loss={loss}/seed={seed}.log"
    shell: "echo trained > {log}; {FAIL} sleep 1.5; touch {output}"
"""

FAILS = "if [ {wildcards.loss}{wildcards.seed} = lm1 ]; then seq 100 > {log}; exit 3; fi;"


def workflow(folder: Path, *, fails: bool = False) -> None:
    text = SNAKEFILE.replace("{FAIL}", FAILS if fails else "")
    (folder / "Snakefile").write_text(text, encoding="utf-8")


def command(*arguments: str) -> list[str]:
    profile = PROFILES / "local"
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        str(profile),
        "--cores",
        "2",
        *arguments,
    ]


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip


def in_terminal(folder: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Exit status of Snakemake in a terminal of 24 lines, and all that it sent to it."""
    size = {"LINES": "24", "COLUMNS": "90"}
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command(), cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal,
        env={**os.environ, **size, "TERM": "xterm", **env},
    )  # fmt: skip
    os.close(terminal)
    said, end = b"", time.monotonic() + 900
    while time.monotonic() < end:
        ready, _, _ = select.select([controller], [], [], 1)
        try:
            part = os.read(controller, 65536) if ready else b""
        except OSError:
            # the terminal is closed once nobody has it open
            break
        said += part
        if not part and process.poll() is not None:
            break
    os.close(controller)
    return process.wait(), said.decode(errors="replace")


def test_without_a_terminal_a_job_is_a_line(tmp_path: Path) -> None:
    workflow(tmp_path)
    done = run(tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 0, text
    lines = [line for line in text.splitlines() if " of 7  " in line]
    assert len(lines) == 7
    for line in lines[:-1]:
        assert re.fullmatch(r"\d\d:\d\d:\d\d [1-7] of 7  train (kd|lm) seed=[012]  \d+ s", line)
    assert "7 jobs to do: 6 train, 1 of one job each" in text
    assert "\x1b" not in text


def test_the_log_file_keeps_what_is_not_printed(tmp_path: Path) -> None:
    workflow(tmp_path, fails=True)
    done = run(tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 1
    (kept,) = (tmp_path / ".snakemake/log").iterdir()
    log = kept.read_text()
    for detail in ("touch out/loss=kd/seed=2", "output: out/loss=kd/seed=2", "wildcards: loss=kd"):
        assert detail in log
        assert detail not in text
    # the failed job's whole log is there, and its last lines are printed
    assert "\n1\n2\n3\n" in log
    assert "FAILED  train lm seed=1" in text
    assert "    100\n" in text
    assert "    86\n" in text
    assert "    85\n" not in text
    assert text.count("FAILED") == 1
    assert f"Complete log(s): {kept}" in text


def test_a_terminal_shows_a_row_for_each_rule(tmp_path: Path) -> None:
    workflow(tmp_path, fails=True)
    status, said = in_terminal(tmp_path, {})
    assert status == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert re.search(r"rule +done +running +failed +time left", plain)
    lines = [" ".join(re.sub("[━╺╸╶╴]", " ", line).split()) for line in plain.splitlines()]
    # two ran at a time
    assert any(re.match(r"train [0-5]/6 2\b", line) for line in lines), lines
    # the last table stays: one job failed, and what needs it was not made
    last = [line for line in lines if line.startswith(("train", "all"))][-2:]
    assert last[0].startswith("train 5/6 1")
    assert last[1].startswith("all 5/7 1")
    assert "FAILED  train lm seed=1" in plain
    # the cursor is there again
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


@pytest.mark.parametrize("terminal", [True, False])
def test_an_ascii_locale_and_no_colour(tmp_path: Path, terminal: bool) -> None:
    workflow(tmp_path, fails=True)
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1",
           "PYTHONIOENCODING": "ascii:backslashreplace"}  # fmt: skip
    text = (tmp_path / "Snakefile").read_text(encoding="utf-8").replace("seq 100", "cat words")
    (tmp_path / "Snakefile").write_text(text, encoding="utf-8")
    (tmp_path / "words").write_text("fällt aus\n", encoding="utf-8")
    if terminal:
        status, said = in_terminal(tmp_path, env)
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", said)
    else:
        done = run(tmp_path, env=env)
        status, said = done.returncode, done.stdout.decode("ascii")
    assert status == 1
    assert said.isascii()
    assert "f\\xe4llt aus" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("options", [(), ("--quiet", "rules")])
def test_a_dry_run_is_a_line_a_job_and_the_table(tmp_path: Path, options: tuple[str, ...]) -> None:
    workflow(tmp_path)
    done = run(tmp_path, "-n", *options)
    text = done.stdout.decode()
    assert done.returncode == 0
    lines = [line for line in text.splitlines() if line.startswith("train ") and ": " in line]
    assert lines == ([] if options else sorted(lines, key=lines.index))
    assert len(lines) == (0 if options else 6)
    if lines:
        assert "train kd seed=0: missing output files" in lines
    assert re.search(r"^train +6$", text, re.MULTILINE)
    assert text.count("Job stats:") == 1


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_a_profile_names_this_logger_and_keeps_the_commands(name: str) -> None:
    profile = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
    assert profile["logger"] == "kdlm"
    assert profile["printshellcmds"] is True
    assert profile["show-failed-logs"] is True


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


def handler(monkeypatch: pytest.MonkeyPatch, stream: Any, **settings: Any) -> LogHandler:
    monkeypatch.setattr("sys.stderr", stream)
    known = {"dryrun": False, "stdout": False, "nocolor": False, "quiet": None}
    common: Any = SimpleNamespace(**known | settings)
    return LogHandler(common, None)


def record(event: LogEvent | None = None, message: str = "", **facts: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelno": logging.INFO})
    made.__dict__.update(facts | ({"event": event} if event else {}))
    return made


def started(number: int, **wildcards: str) -> logging.LogRecord:
    return record(
        LogEvent.JOB_INFO, jobid=number, rule_name="train", wildcards=wildcards, reason="", log=[]
    )


def failed(number: int, *logs: str) -> logging.LogRecord:
    return record(
        LogEvent.JOB_ERROR, jobid=number, rule_name="train", rule_msg="out of memory",
        aux={"external_jobid": "17_3"}, log=list(logs),
    )  # fmt: skip


def test_names_and_logs_of_strangers_draw_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"\x1b[2J gone \xff\xfe\r[red]markup[/nothing]\n")
    for terminal in (False, True):
        stream = Stream(terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        logger = handler(monkeypatch, stream)
        logger.emit(record(LogEvent.RUN_INFO, "Job stats", stats={"train": 2, "total": 2}))
        logger.emit(started(1, name="\x1b[31m[bold]x[/]"))
        logger.emit(failed(1, str(log)))
        logger.close()
        text = stream.getvalue()
        assert "\x1b[2J" not in text
        assert "\x1b[31m" not in text
        assert "\\x1b[2J gone" in text
        assert "[red]markup[/nothing]" in text
        assert "out of memory" in text
        assert "external_jobid: 17_3" in text


def test_of_a_cluster_the_jobs_own_log_is_shown_if_it_says_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = "Job 17 failed: exit status 1\nslurm/17.log ends with:\n    SNAKEMAKE\nLog: slurm/17.log"
    log = tmp_path / "a.log"
    for content, quoted in (("", True), ("kdlm: disk full\n", False)):
        log.write_text(content)
        stream = Stream(False)
        logger = handler(monkeypatch, stream)
        logger.emit(started(1, seed="0"))
        report = failed(1, str(log))
        report.__dict__["rule_msg"] = told
        logger.emit(report)
        text = stream.getvalue()
        assert "Job 17 failed: exit status 1" in text
        assert "Log: slurm/17.log" in text
        assert ("SNAKEMAKE" in text) is quoted
        assert ("kdlm: disk full" in text) is not quoted


def test_a_failure_that_is_tried_again_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = handler(monkeypatch, Stream(False))
    logger.emit(record(LogEvent.RUN_INFO, "Job stats", stats={"train": 1, "total": 1}))
    logger.emit(started(1, seed="0"))
    logger.emit(failed(1))
    assert [row.failed for row in logger.jobs.rows()] == [1]
    logger.emit(started(1, seed="0"))
    logger.emit(record(LogEvent.JOB_FINISHED, job_id=1))
    (row,) = logger.jobs.rows()
    assert (row.done, row.failed, row.total) == (1, 0, 1)
    # Snakemake reports a failure once more at the end
    logger.emit(failed(1))
    assert logger.stream.getvalue().count("FAILED") == 1  # type: ignore[attr-defined]


def test_a_reader_that_goes_does_not_end_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Stream):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    logger = handler(monkeypatch, Gone(False))
    for _ in range(3):
        logger.emit(record(None, "any message"))
    logger.close()


def test_quiet_prints_failures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(True)
    logger = handler(monkeypatch, stream, quiet=["all"])
    logger.emit(record(LogEvent.RUN_INFO, "Job stats", stats={"train": 2, "total": 2}))
    logger.emit(started(1, seed="0"))
    logger.emit(started(2, seed="1"))
    logger.emit(record(LogEvent.JOB_FINISHED, job_id=1))
    logger.emit(failed(2))
    logger.close()
    assert stream.getvalue().splitlines()[0].endswith("FAILED  train seed=1  0 s")
    assert "seed=0" not in stream.getvalue()


def test_the_time_left_is_that_of_the_jobs_at_hand() -> None:
    now = 0.0
    jobs = Bookkeeping(lambda: now)
    jobs.expect({"train": 10, "judge": 1})
    jobs.start(1, "train", "train 1")
    jobs.start(2, "train", "train 2")
    (train, judge) = jobs.rows()
    assert (train.running, train.left, judge.left) == (2, None, None)
    now = 10.0
    jobs.finish(1)
    jobs.start(3, "train", "train 3")
    now = 12.0
    # of 10 s each: 7 wait, one has 8 s left and one has none; two run at a time
    (train, _) = jobs.rows()
    assert train.left == pytest.approx((7 * 10 + 8 + 0) / 2)


def test_a_small_terminal_shows_what_matters() -> None:
    rows = [Row("resolve", 1, 1, 0, 0, 0.0), Row("train", 9, 9, 0, 0, 0.0),
            Row("distill", 9, 0, 0, 0, None), Row("answers", 9, 3, 1, 0, 1.0),
            Row("theory", 1, 0, 0, 1, None), Row("judge", 1, 0, 0, 0, None)]  # fmt: skip
    drawn, others = chosen(rows, 20)
    assert [row.rule for row in drawn] == ["train", "distill", "answers", "theory"]
    assert [row.rule for row in others] == ["resolve", "judge"]
    assert [row.rule for row in chosen(rows, 2)[0]] == ["answers", "theory"]


def test_a_log_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none"):
        assert last_lines(str(tmp_path / name)) == [f"  {tmp_path / name} is missing"]
    (tmp_path / "empty").touch()
    assert last_lines(str(tmp_path / "empty")) == [f"  {tmp_path / 'empty'} is empty"]


def test_it_is_light_for_a_snakemake_that_does_not_use_it() -> None:
    """Every Snakemake imports all loggers that it finds, also those inside jobs on a cluster."""
    code = "import sys, snakemake_logger_plugin_kdlm; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "kdlm.terminal" in said
    assert not {"rich", "rich.console", "torch", "pydantic", "snakemake"} & set(said)
