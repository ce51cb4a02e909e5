"""The gradient's limit and the identities, on random logits and on those of trained networks."""


rule theory:
    input:
        study=STUDY,
        teachers=[
            f"{FOLDER}/{teacher_directory(teacher_of(keys))}/logits.parquet"
            for keys in THEORY_STUDENTS
        ],
        students=[f"{FOLDER}/{student_directory(keys)}/logits.parquet" for keys in THEORY_STUDENTS],
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
        sources=digest("kdlm.measure"),
    shell:
        "python -m kdlm theory $(dirname {input.study:q}) 2> {log:q}"
