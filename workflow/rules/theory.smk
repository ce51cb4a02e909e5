"""Check the gradient's limit and the identities, on random and on trained networks' logits."""


rule theory:
    input:
        study=STUDY,
        teachers=[f"{FOLDER}/{job.teacher.folder}/logits.parquet" for job in THEORY_JOBS],
        students=[f"{FOLDER}/{job.folder}/logits.parquet" for job in THEORY_JOBS],
    output:
        limit=f"{FOLDER}/tables/gradient_limit.parquet",
        identities=f"{FOLDER}/tables/identities.parquet",
    log:
        f"{FOLDER}/logs/theory.log",
    benchmark:
        f"{FOLDER}/benchmarks/theory.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        sources=digest("kdlm.tables.theory"),
    shell:
        "python -m kdlm theory $(dirname {input.study:q}) 2> {log:q}"
