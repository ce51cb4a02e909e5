"""The commands that the rules call: ``python -m kdlm COMMAND``; each does one job.

Heavy packages are imported inside the command that needs them, so that ``claims`` answers at once.
So is the config, whose models a training job does not need.
"""

import argparse
import json
import logging
import platform
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from kdlm import doctor, signals
from kdlm.arguments import Parser, shown, to_path
from kdlm.commands.claims import add_claims, add_findings
from kdlm.commands.plan import add_plan
from kdlm.commands.power import add_power
from kdlm.commands.reproduce import add_reproduce
from kdlm.commands.status import add_status
from kdlm.commands.table import add_table
from kdlm.errors import InputError
from kdlm.figures import FIGURES
from kdlm.storage.locks import lock_folder
from kdlm.streams import BROKEN_PIPE, drop_unwritten, reader_is_gone, standard_streams
from kdlm.study.complaints import complaints
from kdlm.study.names import DATASETS
from kdlm.study.repeated import load_json
from kdlm.study.specs import (
    AnswersSpec,
    BroughtTeacherSpec,
    InitMeansSpec,
    Spec,
    StudentSpec,
    TeacherSpec,
)

if TYPE_CHECKING:
    from kdlm.study.config import Study
    from kdlm.training.checkpoints import CheckpointPolicy

__all__ = ["main", "parser"]

_BY_HAND = (
    "claims",
    "clean",
    "doctor",
    "findings",
    "plan",
    "power",
    "reproduce",
    "salvage",
    "schema",
    "status",
    "table",
)
"""Commands that no rule calls. The others are jobs, whose logs end with the host they ran on."""

SpecT = TypeVar("SpecT", bound=Spec)


def _spec(kind: type[SpecT], text: str) -> SpecT:
    """Return the spec that ``text``, JSON from the option --spec, describes.

    Raises:
        InputError: the text is not JSON, or not a valid spec of this kind.

    """
    try:
        return kind.model_validate(load_json(text))
    except InputError as error:
        raise InputError(f"--spec: {error}") from None
    except ValidationError as error:
        raise InputError(*(f"--spec: {one}" for one in complaints(error, kind))) from None


def _study(arguments: argparse.Namespace) -> "Study":
    """Return the study in the folder that a command is about.

    Raises:
        InputError: it has no study.json, or no valid one.

    """
    from kdlm.study.config import read_study  # noqa: PLC0415

    return read_study(arguments.folder)


def _resolve(arguments: argparse.Namespace) -> None:
    from kdlm.storage.files import replacing  # noqa: PLC0415
    from kdlm.study.config import parse  # noqa: PLC0415

    # the system limits the length of an argument, and with it the number of a config's arms
    text = sys.stdin.read() if arguments.config == "-" else arguments.config
    study = parse(load_json(text))
    with replacing(arguments.output) as temporary:
        temporary.write_text(json.dumps(study.model_dump(mode="json"), indent=2) + "\n")


def _prepare(arguments: argparse.Namespace) -> None:
    from kdlm.data.loaders import prepare_dataset  # noqa: PLC0415

    prepare_dataset(
        arguments.name,
        arguments.output,
        arguments.root,
        download=arguments.download,
        image_side=arguments.image_side,
        train_images=arguments.train_images,
    )


def _train_teacher(arguments: argparse.Namespace) -> None:
    signals.install_handlers()
    from kdlm.training.teachers import train_teacher  # noqa: PLC0415

    spec = _spec(TeacherSpec, arguments.spec)
    with lock_folder(arguments.output):
        train_teacher(spec, arguments.data, arguments.output, _keeping(arguments))


def _bring_teacher(arguments: argparse.Namespace) -> None:
    from kdlm.training.brought import bring_teacher  # noqa: PLC0415

    spec = _spec(BroughtTeacherSpec, arguments.spec)
    with lock_folder(arguments.output):
        bring_teacher(spec, arguments.weights, arguments.data, arguments.output)


def _answers(arguments: argparse.Namespace) -> None:
    from kdlm.training.answers import write_answers  # noqa: PLC0415

    spec = _spec(AnswersSpec, arguments.spec)
    with lock_folder(arguments.output.parent):
        write_answers(spec, arguments.data, arguments.teacher, arguments.output)


def _distill(arguments: argparse.Namespace) -> None:
    signals.install_handlers()
    from kdlm.training.students import distill  # noqa: PLC0415

    spec = _spec(StudentSpec, arguments.spec)
    with lock_folder(arguments.output):
        distill(
            spec,
            arguments.data,
            arguments.teacher,
            arguments.output,
            _keeping(arguments),
            arguments.answers,
        )


def _keeping(arguments: argparse.Namespace) -> "CheckpointPolicy | None":
    from kdlm.training.checkpoints import CheckpointPolicy  # noqa: PLC0415

    if arguments.checkpoint is None:
        return None
    return CheckpointPolicy(
        arguments.checkpoint, arguments.checkpoint_epochs, arguments.checkpoint_minutes
    )


def _init_means(arguments: argparse.Namespace) -> None:
    from kdlm.networks.init_means import draw_init_means  # noqa: PLC0415

    spec = _spec(InitMeansSpec, arguments.spec)
    with lock_folder(arguments.output.parent):
        draw_init_means(spec, arguments.data, arguments.output)


def _collect(arguments: argparse.Namespace) -> None:
    from kdlm.tables.runs import collect  # noqa: PLC0415

    collect(_study(arguments), arguments.folder)


def _summarise(arguments: argparse.Namespace) -> None:
    from kdlm.tables.init_means import summarise_study  # noqa: PLC0415

    summarise_study(_study(arguments), arguments.folder)


def _compare(arguments: argparse.Namespace) -> None:
    from kdlm.tables.comparisons import compare_study  # noqa: PLC0415

    compare_study(_study(arguments), arguments.folder)


def _theory(arguments: argparse.Namespace) -> None:
    from kdlm.tables.theory import measure  # noqa: PLC0415

    measure(_study(arguments), arguments.folder)


def _judge(arguments: argparse.Namespace) -> None:
    from kdlm.claims import judge_study  # noqa: PLC0415

    judge_study(_study(arguments), arguments.folder)


def _salvage(arguments: argparse.Namespace) -> None:
    from kdlm.salvage import salvage  # noqa: PLC0415

    replaced = salvage(_study(arguments), arguments.folder)
    if replaced:
        logging.warning(
            "claims, tables and figures are of what is there, until snakemake runs again"
        )
    for path in replaced:
        print(path)


def _clean(arguments: argparse.Namespace) -> None:
    from kdlm.cleaning import clean, describe  # noqa: PLC0415

    study, dry_run = _study(arguments), arguments.dry_run
    found = clean(study, arguments.folder, unfinished=arguments.unfinished, dry_run=dry_run)
    print(describe(found, study, dry_run=dry_run))


def _figure(arguments: argparse.Namespace) -> None:
    from kdlm.figures import draw  # noqa: PLC0415

    draw(arguments.name, _study(arguments), arguments.folder)


def _report(arguments: argparse.Namespace) -> None:
    from kdlm.report import write_report  # noqa: PLC0415

    write_report(_study(arguments), arguments.folder)


def _snakemake_report(arguments: argparse.Namespace) -> None:
    from kdlm.archive.snakemake_report import render_snakemake_report  # noqa: PLC0415
    from kdlm.storage.files import verify  # noqa: PLC0415

    _study(arguments)
    verify(arguments.folder / "claims.parquet")
    render_snakemake_report(arguments.folder, arguments.output)


def _archive(arguments: argparse.Namespace) -> None:
    from kdlm.archive.study import archive_study  # noqa: PLC0415

    study = _study(arguments)
    output = arguments.output or arguments.folder / f"archive/{study.study}.zip"
    archive_study(
        study,
        arguments.folder,
        output,
        weights=arguments.weights,
        small=arguments.small,
        include_diff=arguments.include_diff,
    )


def _schema(arguments: argparse.Namespace) -> None:
    import yaml  # noqa: PLC0415

    from kdlm.storage.files import replacing  # noqa: PLC0415
    from kdlm.study.config import schema  # noqa: PLC0415

    with replacing(arguments.output) as temporary:
        temporary.write_text(
            "# Generated by `python -m kdlm schema`; edit src/kdlm/study/config.py instead.\n"
            + yaml.safe_dump(schema(), sort_keys=False, allow_unicode=True, width=100),
            encoding="utf-8",
        )


_AddCommand = Callable[[str, object, str], argparse.ArgumentParser]


def _add_commands_around_a_run(command: _AddCommand, folder_command: _AddCommand) -> None:
    add_plan(command)
    add_status(folder_command)
    folder_command("salvage", _salvage, "gather what a failed run has left; print what changed")
    clean = folder_command("clean", _clean, "remove what a finished study no longer needs")
    clean.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be")
    clean.add_argument(
        "--unfinished",
        action="store_true",
        help="clean a study that is not finished; its stopped trainings then start over",
    )


def _add_report_and_archive_commands(command: _AddCommand, folder_command: _AddCommand) -> None:
    folder_command("report", _report, "write report.html, a page with the study's answer")
    rendered = folder_command(
        "snakemake-report", _snakemake_report, "make Snakemake's report on a finished study"
    )
    rendered.add_argument("--output", type=to_path, required=True)

    archive = folder_command("archive", _archive, "pack a finished study into one file")
    archive.add_argument(
        "--output", type=to_path, help="default: archive/<study>.zip in the folder"
    )
    archive.add_argument("--weights", action="store_true", help="with every network's weights")
    archive.add_argument(
        "--small",
        action="store_true",
        help="without logits, initialisation means and PNGs: all is rebuilt from tables",
    )
    archive.add_argument(
        "--include-diff",
        action="store_true",
        help="archive a source that differs from its commit, and the difference",
    )
    add_reproduce(command)


def _add_sources(prepare: argparse.ArgumentParser) -> None:
    """Add the options that say which dataset to prepare, from where, and how much of it."""
    prepare.add_argument(
        "--name", required=True, choices=DATASETS, metavar="NAME",
        help=f"the dataset: {', '.join(DATASETS)}",
    )  # fmt: skip
    prepare.add_argument("--root", type=to_path, help="folder of the raw files")
    prepare.add_argument("--download", action=argparse.BooleanOptionalAction, default=True)
    prepare.add_argument("--image-side", type=int, help="imagefolder only, in pixels")
    prepare.add_argument(
        "--train-images", type=int, help="keep the first so many training images; not imagefolder"
    )
    prepare.add_argument("--output", type=to_path, required=True)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = Parser(prog="kdlm", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    def folder_command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = command(name, run, text)
        added.add_argument("folder", type=to_path, help="a study's folder, results/<study>")
        return added

    add_claims(folder_command)
    add_findings(folder_command)
    add_table(command)
    add_power(command)

    resolve = command("resolve", _resolve, "write a validated config as study.json")
    resolve.add_argument("--config", required=True, help="the config as JSON; - for stdin")
    resolve.add_argument("--output", type=to_path, required=True)

    _add_sources(command("prepare", _prepare, "decode a dataset once, to the file every job maps"))

    for name, run, text in (
        ("train-teacher", _train_teacher, "train one teacher"),
        ("bring-teacher", _bring_teacher, "take in one teacher that was trained elsewhere"),
        ("answers", _answers, "run a teacher on the views that students of one seed share"),
        ("distill", _distill, "train one student of a teacher"),
        ("init-means", _init_means, "mean outputs of layers at initialisation"),
    ):
        job = command(name, run, text)
        job.add_argument("--spec", required=True, help="what to do, as JSON: see kdlm.study.specs")
        job.add_argument("--data", type=to_path, required=True, help="the prepared dataset")
        if name in ("answers", "distill"):
            job.add_argument("--teacher", type=to_path, required=True, help="the teacher's folder")
        if name == "distill":
            job.add_argument(
                "--answers",
                type=to_path,
                nargs="?",
                help="the teacher's answers to the student's views; without them it is run",
            )
        if name == "bring-teacher":
            job.add_argument(
                "--weights", type=to_path, required=True, help="the file brought along"
            )
        if name in ("train-teacher", "distill"):
            job.add_argument("--checkpoint", type=to_path, help="file to go on from after a stop")
            job.add_argument("--checkpoint-epochs", type=int, default=10, help="between saves")
            job.add_argument("--checkpoint-minutes", type=float, default=10, help="between saves")
        job.add_argument("--output", type=to_path, required=True)

    folder_command("collect", _collect, "gather tables runs, histories and energies")
    folder_command("summarise", _summarise, "gather tables layer_means and init_means")
    folder_command("compare", _compare, "measure how far students are apart")
    folder_command("theory", _theory, "measure the gradient's limit and the identities")
    folder_command("judge", _judge, "decide every claim")
    folder_command("figure", _figure, "draw one figure").add_argument(
        "name", choices=FIGURES, metavar="NAME", help=f"the figure: {', '.join(FIGURES)}"
    )

    _add_commands_around_a_run(command, folder_command)
    _add_report_and_archive_commands(command, folder_command)
    doctor.add_command(command)
    command("schema", _schema, "write the config's JSON schema").add_argument(
        "output", type=to_path
    )
    return whole


def main(argv: list[str] | None = None) -> int:
    """Run the command that ``argv`` asks for; None takes the process's own arguments.

    Returns:
        The exit status: 0, or 1 after an error in the user's input, which is printed to stderr, one
        line for each problem. Errors in the arguments themselves end the process with status 2.

    """
    with standard_streams():
        return _run(argv)


def _run(argv: list[str] | None) -> int:
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            return BROKEN_PIPE
        # what a file system refuses is the user's to mend too; the message may quote a stranger
        for problem in error.problems if isinstance(error, InputError) else [str(error)]:
            print(f"kdlm: {shown(problem)}", file=sys.stderr)
        drop_unwritten()
        return 1
    if arguments.command not in _BY_HAND:
        logging.getLogger(__name__).info("finished on %s", platform.node())
    return 0
