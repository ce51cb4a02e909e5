# The workflow is in workflow/Snakefile, where the catalog of Snakemake workflows looks for it.
include: "workflow/Snakefile"


# an included file cannot set the default target of the file that includes it
rule study:
    default_target: True
    input:
        rules.all.input,
