"""Define what all rules use: the study that the config describes, its paths, and helpers."""

import os
import sys
from pathlib import Path

from snakemake.io import IOFile
from snakemake.logging import logger
from snakemake.utils import Paramspace


def refuse(*problems):
    """End Snakemake with a line for each problem, without a traceback or a line of a rule file.

    Snakemake prints any exception that a rule file raises with the file's name and line, which say
    nothing to the user.
    """
    for problem in problems:
        logger.error(problem)
    sys.exit(1)


try:
    import pandas as pd

    from kdlm.data.listing import fingerprint
    from kdlm.errors import InputError
    from kdlm.figures import FIGURES as FIGURE_NAMES
    from kdlm.figures import caption as figure_caption
    from kdlm.figures import inputs as figure_inputs
    from kdlm.sources import digest
    from kdlm.study import names
    from kdlm.storage.locks import acquire_folder
    from kdlm.study.config import parse as parse_config
    from kdlm.study.teacher import BROUGHT
    from kdlm.study.jobs import (
        ANSWERS_KEYS,
        answers_jobs,
        describe_answers,
        init_means_jobs,
        student_jobs,
        teacher_jobs,
        theory_jobs,
    )
    from kdlm.study.repeated import refuse_repeated_keys
    from kdlm.study.schemas import TABLES, table_path
    from kdlm.terminal import printable
except ModuleNotFoundError as error:
    # a copy that was deployed elsewhere, or a module of another workflow, comes without src/
    refuse(
        f"Module {error.name.partition('.')[0]!r} is not installed for {sys.executable}: run `make install` in a "
        "checkout of this repository, and start Snakemake in its environment, as .venv/bin/snakemake or after "
        "`conda activate kdlm`."
    )

# Make `python` in a rule the interpreter that runs Snakemake, even if its environment has not been
# activated.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))

# Give matplotlib a folder in the working directory, so that jobs need no writable home, and so that
# a matplotlibrc in the home cannot change a figure.
os.environ.update(MPLCONFIGDIR=os.path.abspath(".snakemake/matplotlib"))


def config_files():
    """Return the config's files, with paths relative to the working directory if they are below it."""
    here = os.getcwd()
    return [
        Path(os.path.relpath(path)) if Path(path).is_relative_to(here) else Path(path)
        for path in workflow.configfiles
    ]


try:
    if workflow.is_main_process:
        for path in config_files():
            refuse_repeated_keys(path)
    study = parse_config(config, printable(", ".join(map(str, config_files())) or "config"))
except InputError as error:
    refuse(*map(printable, error.problems))

FOLDER = f"results/{study.study}"
STUDY = f"{FOLDER}/study.json"

HELD = []


onstart:
    # onstart runs only if there are jobs to run. The Snakemake inside a cluster's job must not try
    # to take the lock, because the main process holds it.
    if workflow.is_main_process:
        try:
            HELD.append(acquire_folder(Path(FOLDER)))
        except InputError as error:
            refuse(*map(printable, error.problems))
        logger.info(describe_answers(study))


def space(jobs, keys=None):
    """Return the parameter space of the jobs, with Hive paths, and a dict of the jobs by path.

    ``keys`` are the names of the path's keys; they are needed where there may be no job.
    """
    jobs = list(jobs)
    rows = pd.DataFrame([job.keys for job in jobs], columns=keys, dtype=str)
    frame = Paramspace(rows, param_sep="=")
    return frame, dict(zip(frame.instance_patterns, jobs))


TEACHERS, TEACHER_JOBS = space(teacher_jobs(study))
STUDENTS, STUDENT_JOBS = space(student_jobs(study))
INIT_MEANS, INIT_MEANS_JOBS = space(init_means_jobs(study))
ANSWERS_OF = answers_jobs(study)
ANSWERS, ANSWERS_JOBS = space(
    {job.folder: job for job in ANSWERS_OF.values()}.values(), ANSWERS_KEYS
)

# By a teacher's path, the file of its weights; None for a teacher that the study trains.
WEIGHTS = {path: one.weights for path, one in zip(TEACHER_JOBS, study.teachers, strict=True)}


wildcard_constraints:
    **{
        name: "[^/]+"
        for name in {*TEACHERS.columns, *STUDENTS.columns, *INIT_MEANS.columns, *ANSWERS_KEYS}
    },


def growing(megabytes):
    """Return the function that gives a job's memory: n times ``megabytes`` at its nth attempt."""
    return lambda wildcards, attempt: megabytes * attempt


# Number of GPUs that a training job requests from a cluster. Without a cluster, a job with
# `device: auto` uses a GPU if it finds one.
GPUS = 0 if study.device == "cpu" else 1


def job_of(wildcards, paramspace, jobs):
    """Return the job of a parameter space that has these wildcards."""
    return jobs[paramspace.wildcard_pattern.format(**wildcards)]


def spec_of(paramspace, jobs):
    """Return the function that gives the spec of a job, as JSON, from its wildcards."""
    return lambda wildcards: job_of(wildcards, paramspace, jobs).spec.canonical_json()


def dataset_file(dataset):
    """Return the path of a prepared dataset."""
    return f"{FOLDER}/data/{dataset.name}.safetensors"


def teacher_file(name, paramspace, jobs):
    """Return the function that gives a file of a job's teacher from the job's wildcards."""

    def path(wildcards):
        return f"{FOLDER}/{job_of(wildcards, paramspace, jobs).teacher.folder}/{name}"

    return path


def answers_file(wildcards):
    """Return the path of the answers that a student reads, or none if it runs its teacher."""
    answers = ANSWERS_OF.get(job_of(wildcards, STUDENTS, STUDENT_JOBS).folder)
    return f"{FOLDER}/{answers.folder}/answers.parquet" if answers else []


def brought_weights(wildcards):
    """Return the path of the weights of a teacher that was trained elsewhere."""
    return WEIGHTS[TEACHERS.wildcard_pattern.format(**wildcards)]


def outputs(folder, paramspace, *files):
    """Return the paths of the named files of every job of a parameter space."""
    return [
        f"{FOLDER}/{folder}/{instance}/{file}"
        for instance in paramspace.instance_patterns
        for file in files
    ]


DATASETS = {dataset.name: dataset for dataset in (study.dataset, study.init_means.dataset)}

# Only the Snakemake that the user has started lists a folder of images, and only once. The
# Snakemake inside a job does not need the list, since it is told which job to run.
try:
    FOLDERS_FILES = {
        dataset.name: fingerprint(Path(dataset.root).expanduser())
        for dataset in DATASETS.values()
        if dataset.name == "imagefolder" and workflow.is_main_process
    }
except InputError as error:
    refuse(*map(printable, error.problems))


def dataset_files(wildcards):
    """Return a digest of the names and sizes of the files in a folder of images.

    For other datasets the digest is None. If the folder is not there, for instance because its disk
    is not mounted, the result is the digest that was recorded when the dataset was prepared, so
    that nothing counts as changed.
    """
    dataset = DATASETS[wildcards.dataset]
    found = FOLDERS_FILES.get(dataset.name)
    if found is not None or dataset.name not in FOLDERS_FILES:
        return f"files: {found}"
    recorded = workflow.persistence.params(IOFile(dataset_file(dataset))) or []
    quoted = [param.strip("'") for param in recorded]
    return next((param for param in quoted if param.startswith("files: ")), "files: none")


def dataset_options(wildcards):
    """Return the command-line options that say where a dataset's files are, and what of them."""
    dataset = DATASETS[wildcards.dataset]
    options = [] if dataset.root is None else ["--root", dataset.root]
    options += [] if dataset.download else ["--no-download"]
    options += [] if dataset.image_side is None else ["--image-side", str(dataset.image_side)]
    if dataset.train_images is not None:
        options += ["--train-images", str(dataset.train_images)]
    return options


def figure(name):
    """Return the outputs of a figure's rule, by name; the PNG goes into Snakemake's report."""
    return {
        "svg": f"{FOLDER}/figures/{name}.svg",
        "png": report(
            f"{FOLDER}/figures/{name}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": name.replace("_", " ")},
        ),
    }


FIGURES = [
    f"{FOLDER}/figures/{name}.{suffix}" for name in FIGURE_NAMES for suffix in ("svg", "png")
]

THEORY_JOBS = theory_jobs(study)

# Labels and families of the losses. They are a parameter of the rules for claims and figures,
# because they change the output while digests of sources leave out their module.
LOSS_FACTS = repr(names.LOSSES)
