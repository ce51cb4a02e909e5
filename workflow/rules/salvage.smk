"""After a failed run, make tables, claims and figures from the results that exist."""

from snakemake.io import IOFile


onerror:
    # Delete Snakemake's records of the replaced files, so that the next run makes them anew.
    for path in shell(f"python -m kdlm salvage {FOLDER} || true", iterable=True):
        workflow.persistence.cleanup_metadata(IOFile(path))
