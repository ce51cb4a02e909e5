from snakemake.utils import min_version

min_version("9.27")

# A config file on the command line is the whole study. Snakemake would merge it into config.yaml
# key by key, so that one is read only where none is given.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/students.smk"
include: "workflow/rules/init_means.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/archive.smk"
include: "workflow/rules/salvage.smk"


rule all:
    default_target: True
    input:
        claims=rules.claims.output.claims,
        figures=FIGURES,
