"""After a failure: tables, claims and figures of what is there, which say what is missing."""

from snakemake.io import IOFile


onerror:
    # what it replaces Snakemake has to forget, so that the next run makes all of it anew
    for path in shell(f"python -m kdlm salvage {FOLDER} || true", iterable=True):
        workflow.persistence.cleanup_metadata(IOFile(path))
