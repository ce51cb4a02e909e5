"""Run each teacher once on the views that students of one seed share.

The files stay until `python -m kdlm clean` removes them. If they were marked temp(), Snakemake
would make them again as soon as a student is added, and then rerun the finished students.
"""


rule answers:
    input:
        data=dataset_file(study.dataset),
        teacher=teacher_file("model.safetensors", ANSWERS, ANSWERS_JOBS),
    output:
        f"{FOLDER}/answers/{ANSWERS.wildcard_pattern}/answers.parquet",
    log:
        f"{FOLDER}/logs/answers/{ANSWERS.wildcard_pattern}.log",
    benchmark:
        f"{FOLDER}/benchmarks/answers/{ANSWERS.wildcard_pattern}.tsv"
    threads: study.threads
    resources:
        mem_mb=growing(3000),
        gpu=GPUS,
        runtime=1440,
    params:
        spec=spec_of(ANSWERS, ANSWERS_JOBS),
        sources=digest("kdlm.training.answers"),
    shell:
        "python -m kdlm answers --spec {params.spec:q} --data {input.data:q}"
        " --teacher $(dirname {input.teacher:q}) --output {output:q} 2> {log:q}"
