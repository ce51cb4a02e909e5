"""After a failed run: tables, claims and figures from the results that there are."""

from snakemake.io import IOFile


onerror:
    # Delete Snakemake's records of the files that are replaced: the next run has to remake them.
    for path in shell(f"python -m kdlm salvage {FOLDER} || true", iterable=True):
        workflow.persistence.cleanup_metadata(IOFile(path))
