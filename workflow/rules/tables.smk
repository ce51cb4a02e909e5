"""Gather the tables of all networks, and of the distances between students."""


rule collect:
    input:
        study=STUDY,
        teachers=outputs("teachers", TEACHERS, "history.parquet", "logits.parquet"),
        students=outputs("students", STUDENTS, "history.parquet", "logits.parquet"),
    output:
        runs=f"{FOLDER}/tables/runs.parquet",
        histories=f"{FOLDER}/tables/histories.parquet",
        energies=f"{FOLDER}/tables/energies.parquet",
    log:
        f"{FOLDER}/logs/collect.log",
    benchmark:
        f"{FOLDER}/benchmarks/collect.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        sources=digest("kdlm.tables.runs"),
    shell:
        "python -m kdlm collect $(dirname {input.study:q}) 2> {log:q}"


rule compare:
    input:
        study=STUDY,
        teachers=outputs("teachers", TEACHERS, "logits.parquet"),
        students=outputs("students", STUDENTS, "model.safetensors", "logits.parquet"),
    output:
        f"{FOLDER}/tables/comparisons.parquet",
    log:
        f"{FOLDER}/logs/compare.log",
    benchmark:
        f"{FOLDER}/benchmarks/compare.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        sources=digest("kdlm.tables.comparisons"),
    shell:
        "python -m kdlm compare $(dirname {input.study:q}) 2> {log:q}"
