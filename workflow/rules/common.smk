"""The study the config asks for, where its files are, and what its jobs depend on."""

import os
import sys
from pathlib import Path

import pandas as pd
from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile
from snakemake.utils import Paramspace

from kdlm.data.listing import fingerprint
from kdlm.errors import InputError
from kdlm.figures import FIGURES as FIGURE_NAMES
from kdlm.figures import inputs as figure_inputs
from kdlm.sources import digest
from kdlm.study import names
from kdlm.storage.locks import hold
from kdlm.study.config import parse as parse_config
from kdlm.study.teacher import BROUGHT
from kdlm.study.jobs import init_means_jobs, student_jobs, teacher_jobs, theory_jobs
from kdlm.study.repeated import refuse_repeated_keys

# `python` in a rule is the interpreter that runs Snakemake, also where its environment has not
# been activated.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))

# Jobs need no home that can be written to, and no figure has a look that lies there.
os.environ.update(MPLCONFIGDIR=os.path.abspath(".snakemake/matplotlib"))

try:
    if workflow.is_main_process:
        for path in workflow.configfiles:
            refuse_repeated_keys(Path(path))
    study = parse_config(config)
except InputError as error:
    raise WorkflowError(str(error))

FOLDER = f"results/{study.study}"
STUDY = f"{FOLDER}/study.json"

HELD = []


onstart:
    # only of a run that does something, and not of the snakemake inside a cluster's job
    if workflow.is_main_process:
        try:
            HELD.append(hold(Path(FOLDER)))
        except InputError as error:
            raise WorkflowError(str(error))


def space(jobs):
    """Parameter space with Hive paths, and each of its jobs by its path."""
    jobs = list(jobs)
    frame = Paramspace(pd.DataFrame([job.keys for job in jobs], dtype=str), param_sep="=")
    return frame, dict(zip(frame.instance_patterns, jobs))


TEACHERS, TEACHER_JOBS = space(teacher_jobs(study))
STUDENTS, STUDENT_JOBS = space(student_jobs(study))
INIT_MEANS, INIT_MEANS_JOBS = space(init_means_jobs(study))


wildcard_constraints:
    **{name: "[^/]+" for name in {*TEACHERS.columns, *STUDENTS.columns, *INIT_MEANS.columns}},


def growing(megabytes):
    """Function of a job's attempt: so much memory at the first, twice as much at the second, …"""
    return lambda wildcards, attempt: megabytes * attempt


# GPUs a training job asks of a cluster; with `device: auto` it takes what it finds elsewhere
GPUS = 0 if study.device == "cpu" else 1


def job_of(wildcards, paramspace, jobs):
    """The job with these wildcards."""
    return jobs[paramspace.wildcard_pattern.format(**wildcards)]


def spec_of(paramspace, jobs):
    """Function of a job's wildcards: its spec as JSON."""
    return lambda wildcards: job_of(wildcards, paramspace, jobs).spec.canonical_json()


def dataset_file(dataset):
    """Where a dataset lies once it is prepared."""
    return f"{FOLDER}/data/{dataset.name}.safetensors"


def teacher_file(name):
    """Function of a student's wildcards: a file of its teacher."""

    def path(wildcards):
        student = job_of(wildcards, STUDENTS, STUDENT_JOBS)
        return f"{FOLDER}/{student.teacher.folder}/{name}"

    return path


def brought_weights(wildcards):
    """The file of a teacher that was trained elsewhere."""
    teacher = job_of(wildcards, TEACHERS, TEACHER_JOBS)
    return next(
        one.weights for one, job in zip(study.teachers, teacher_jobs(study)) if job == teacher
    )


def outputs(folder, paramspace, *files):
    """The named files of every job of a parameter space."""
    return [
        f"{FOLDER}/{folder}/{instance}/{file}"
        for instance in paramspace.instance_patterns
        for file in files
    ]


DATASETS = {dataset.name: dataset for dataset in (study.dataset, study.init_means.dataset)}

# Listed once, by the Snakemake that the user has started: that inside a job is told what to run.
try:
    FOLDERS_FILES = {
        dataset.name: fingerprint(Path(dataset.root).expanduser())
        for dataset in DATASETS.values()
        if dataset.name == "imagefolder" and workflow.is_main_process
    }
except InputError as error:
    raise WorkflowError(str(error))


def dataset_files(wildcards):
    """Digest of the names and sizes of the files in a folder of images; nothing for others.

    Where the folder is not there, as on a disk that is not mounted, it is what was recorded when
    the dataset was prepared: nothing has changed as far as can be told.
    """
    dataset = DATASETS[wildcards.dataset]
    found = FOLDERS_FILES.get(dataset.name)
    if found is not None or dataset.name not in FOLDERS_FILES:
        return f"files: {found}"
    recorded = workflow.persistence.params(IOFile(dataset_file(dataset))) or []
    quoted = [param.strip("'") for param in recorded]
    return next((param for param in quoted if param.startswith("files: ")), "files: none")


def dataset_options(wildcards):
    """Command-line options that say where the raw files of a dataset are."""
    dataset = DATASETS[wildcards.dataset]
    options = [] if dataset.root is None else ["--root", dataset.root]
    options += [] if dataset.download else ["--no-download"]
    options += [] if dataset.image_side is None else ["--image-side", str(dataset.image_side)]
    return options


def figure(name):
    """Both files of a figure; the PNG goes into Snakemake's report."""
    return {
        "svg": f"{FOLDER}/figures/{name}.svg",
        "png": report(
            f"{FOLDER}/figures/{name}.png",
            caption=f"../report/{name}.rst",
            category="Figures",
            labels={"figure": name.replace("_", " ")},
        ),
    }


FIGURES = [
    f"{FOLDER}/figures/{name}.{suffix}" for name in FIGURE_NAMES for suffix in ("svg", "png")
]

THEORY_JOBS = theory_jobs(study)

# labels and families of the losses, which digests of sources leave out
LOSS_FACTS = repr(names.LOSSES)
