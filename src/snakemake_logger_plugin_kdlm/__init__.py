"""Snakemake's output on a terminal, a row for each rule; elsewhere, a line for each job.

`snakemake --logger kdlm` uses it, as the profiles in workflow/profiles do. Everything that
Snakemake would print without it stays in .snakemake/log.

Every Snakemake imports this module when it starts, so rich is imported where a table is drawn.
"""

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from kdlm.terminal import name_job, printable
from snakemake_logger_plugin_kdlm.bookkeeping import Bookkeeping, clock, last_lines

if TYPE_CHECKING:
    from snakemake_logger_plugin_kdlm.screen import Screen

__all__ = ["LogHandler"]

_NOISE = (
    "Activating ",
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Execute ",
    "None",
    "Provided cores:",
    "Removing temporary output",
    "Rules claiming more threads",
    "Select jobs to execute",
    "Submitted job ",
    "Updating checkpoint dependencies",
    "Using shell:",
    "host:",
)
"""Beginnings of messages that say nothing of the study; they stay in Snakemake's log file."""


class LogHandler(LogHandlerBase):
    """Prints what a reader needs while the workflow runs, and leaves the rest to the log file."""

    def __post_init__(self) -> None:
        """Find out where to print, and whether that is a terminal that a table can be drawn on."""
        self.stream: TextIO = sys.stdout if self.common_settings.stdout else sys.stderr
        self.jobs = Bookkeeping()
        self.screen: Screen | None = None
        self.planned = ""
        terminal = self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.draws = terminal and not self.common_settings.dryrun
        self.quiet = {str(one).lower() for one in self.common_settings.quiet or ()}

    @property
    def writes_to_stream(self) -> bool:
        """It does, in the place of Snakemake's own handler."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """It does not; Snakemake's own handler writes the log file."""
        return False

    @property
    def has_filter(self) -> bool:
        """It leaves out what has to be left out itself: quiet runs are counted too."""
        return True

    @property
    def has_formatter(self) -> bool:
        """It words the messages itself."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It does not draw the graph of rules."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Count what a record says of a job, and print what a reader needs of it."""
        try:
            self._handle(record)
        except BrokenPipeError:
            # a reader such as `head` has gone; the study goes on
            self.quiet.add("all")
        except Exception:
            # a fault in printing must not end the study
            self.handleError(record)

    def _handle(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        facts = record.__dict__
        if event == LogEvent.RUN_INFO:
            self._run_info(facts)
        elif event == LogEvent.JOB_INFO:
            self._started(facts)
        elif event == LogEvent.JOB_FINISHED:
            self._finished(facts)
        elif event == LogEvent.JOB_ERROR:
            self._failed(facts)
        elif event in (None, LogEvent.ERROR, LogEvent.GROUP_ERROR):
            self._message(record)

    def _run_info(self, facts: dict[str, Any]) -> None:
        if self.common_settings.dryrun:
            # Snakemake says it before the jobs and after them; the last time is where a reader is
            self.planned = str(facts["msg"])
            return
        self.jobs.expect({rule: n for rule, n in facts["stats"].items() if rule != "total"})
        if self.draws and not self._silent():
            from snakemake_logger_plugin_kdlm.screen import Screen  # noqa: PLC0415

            self.screen = Screen(self.jobs, self.stream, colour=not self.common_settings.nocolor)
        else:
            self._print(f"{self.jobs.total} jobs to do: {self.jobs.described()}")

    def _started(self, facts: dict[str, Any]) -> None:
        name = name_job(facts["rule_name"], facts["wildcards"])
        if not self.common_settings.dryrun:
            self.jobs.start(facts["jobid"], facts["rule_name"], name)
        elif "rules" not in self.quiet:
            reason = str(facts["reason"]).partition(":")[0].lower()
            self._print(f"{name}: {reason}" if reason else name)

    def _finished(self, facts: dict[str, Any]) -> None:
        job = self.jobs.finish(facts["job_id"])
        if job and not self.screen:
            done = f"{self.jobs.done:>{len(str(self.jobs.total))}} of {self.jobs.total}"
            self._print(f"{clock()} {done}  {job.name}  {job.took()}")

    def _failed(self, facts: dict[str, Any]) -> None:
        name = name_job(facts["rule_name"], {})
        job = self.jobs.fail(facts["jobid"])
        if job is None:
            # Snakemake reports each failure when it happens, and once more at the end
            return
        lines = [f"{clock()} FAILED  {job.name or name}  {job.took()}"]
        said = [line for path in facts["log"] for line in last_lines(path)]
        told = str(facts["rule_msg"] or "").splitlines()
        if len(said) > len(facts["log"]):
            # an executor quotes what Snakemake said in the job, which the job's own log explains
            told = [line for line in told if not line.startswith(" ") and "ends with:" not in line]
        lines += [f"  {line}" for line in told]
        lines += [f"  {key}: {value}" for key, value in facts["aux"].items() if value]
        self._print(*lines, *said, failure=True)

    def _message(self, record: logging.LogRecord) -> None:
        text = str(record.msg or "").rstrip()
        if not text or (record.levelno < logging.WARNING and text.startswith(_NOISE)):
            return
        if text.startswith("RuleException:") and "CalledProcessError" in text:
            # the whole command of a job that failed; the job's own log says why
            return
        if self.planned and text.startswith("This was a dry-run"):
            self._print_plan()
        self._print(*text.splitlines(), failure=record.levelno >= logging.ERROR)

    def _print_plan(self) -> None:
        planned, self.planned = self.planned, ""
        if "progress" not in self.quiet:
            self._print(*planned.splitlines())

    def _silent(self) -> bool:
        return "all" in self.quiet

    def _print(self, *lines: str, failure: bool = False) -> None:
        if self._silent() and not failure:
            return
        shown = [printable(line) for line in lines]
        if self.screen:
            self.screen.say(shown, failure=failure)
            return
        encoding = self.stream.encoding or "ascii"
        for line in shown:
            text = line.encode(encoding, "backslashreplace").decode(encoding)
            self.stream.write(f"{text}\n")
        self.stream.flush()

    def close(self) -> None:
        """Draw the table for the last time, and leave it on the terminal."""
        if self.planned:
            self._print_plan()
        if self.screen:
            self.screen.close()
            self.screen = None
        super().close()
