"""The study the config asks for, where its files are, and what its jobs depend on."""

import os
import sys

import pandas as pd
from snakemake.exceptions import WorkflowError
from snakemake.utils import Paramspace

from kdlm.config import parse as parse_config
from kdlm.errors import InputError
from kdlm.layout import teacher_directory, teacher_of
from kdlm.sources import digest

# `python` in a rule is the interpreter that runs Snakemake, also where its environment has not
# been activated.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

try:
    study = parse_config(config)
except InputError as error:
    raise WorkflowError(str(error))

FOLDER = f"results/{study.study}"
STUDY = f"{FOLDER}/study.json"


def space(jobs):
    """Parameter space with Hive paths, and the spec of each of its jobs as JSON by its path."""
    frame = Paramspace(pd.DataFrame([keys for keys, _ in jobs], dtype=str), param_sep="=")
    specs = [spec.canonical_json() for _, spec in jobs]
    return frame, dict(zip(frame.instance_patterns, specs))


TEACHERS, TEACHER_SPECS = space(list(study.teacher_jobs()))
STUDENTS, STUDENT_SPECS = space(list(study.student_jobs()))
INIT_MEANS, INIT_MEANS_SPECS = space(list(study.init_means_jobs()))


wildcard_constraints:
    **{name: "[^/]+" for name in {*TEACHERS.columns, *STUDENTS.columns, *INIT_MEANS.columns}},


def spec_of(paramspace, specs):
    """Function of a job's wildcards: its spec."""
    return lambda wildcards: specs[paramspace.wildcard_pattern.format(**wildcards)]


def dataset_file(dataset):
    """Where a dataset lies once it is prepared."""
    return f"{FOLDER}/data/{dataset.name}.safetensors"


def teacher_file(name):
    """Function of a student's wildcards: a file of its teacher."""
    return lambda wildcards: f"{FOLDER}/{teacher_directory(teacher_of(wildcards))}/{name}"


def outputs(folder, paramspace, *files):
    """The named files of every job of a parameter space."""
    return [
        f"{FOLDER}/{folder}/{instance}/{file}"
        for instance in paramspace.instance_patterns
        for file in files
    ]


rule resolve:
    output:
        STUDY,
    params:
        config=study.canonical_json(),
    log:
        f"{FOLDER}/logs/resolve.log",
    benchmark:
        f"{FOLDER}/benchmarks/resolve.tsv"
    resources:
        mem_mb=500,
        runtime=5,
    shell:
        "python -m kdlm resolve --config {params.config:q} --output {output:q} 2> {log:q}"
