"""Render Snakemake's report, and pack the archive: the whole study in one file."""


rule snakemake_report:
    input:
        study=STUDY,
        claims=rules.judge.output.claims,
        figures=FIGURES,
        page=rules.write_report.output,
    output:
        report=f"{FOLDER}/snakemake-report.html",
    log:
        f"{FOLDER}/logs/snakemake_report.log",
    benchmark:
        f"{FOLDER}/benchmarks/snakemake_report.tsv"
    # The rule is local because it reads Snakemake's records in the folder where Snakemake runs.
    localrule: True
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        sources=digest("kdlm.archive.snakemake_report"),
    shell:
        "python -m kdlm snakemake-report $(dirname {input.study:q}) --output {output.report:q}"
        " 2> {log:q}"


rule archive:
    input:
        study=STUDY,
        report=rules.snakemake_report.output.report,
    output:
        f"{FOLDER}/archive/{study.study}.zip",
    log:
        f"{FOLDER}/logs/archive.log",
    benchmark:
        f"{FOLDER}/benchmarks/archive.tsv"
    # The rule is local because it reads the same records, and asks git for the commit.
    localrule: True
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        options="",
        sources=digest("kdlm.archive.study"),
    shell:
        "python -m kdlm archive $(dirname {input.study:q}) --output {output:q} {params.options}"
        " 2> {log:q}"


use rule archive as archive_with_weights with:
    output:
        f"{FOLDER}/archive/{study.study}-with-weights.zip",
    log:
        f"{FOLDER}/logs/archive_with_weights.log",
    benchmark:
        f"{FOLDER}/benchmarks/archive_with_weights.tsv"
    params:
        options="--weights",
        sources=digest("kdlm.archive.study"),
