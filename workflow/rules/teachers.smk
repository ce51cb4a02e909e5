"""Teachers learn by cross-entropy; no distillation loss is among their sources."""

TEACHER = f"{FOLDER}/teachers/{TEACHERS.wildcard_pattern}"


rule train_teacher:
    input:
        data=dataset_file(study.dataset),
    output:
        model=f"{TEACHER}/model.safetensors",
        history=f"{TEACHER}/history.parquet",
        logits=f"{TEACHER}/logits.parquet",
        run=f"{TEACHER}/run.json",
    log:
        f"{FOLDER}/logs/teachers/{TEACHERS.wildcard_pattern}.log",
    benchmark:
        f"{FOLDER}/benchmarks/teachers/{TEACHERS.wildcard_pattern}.tsv"
    threads: study.threads
    resources:
        mem_mb=growing(3000),
        gpu=GPUS,
        runtime=1440,
    params:
        spec=spec_of(TEACHERS, TEACHER_SPECS),
        sources=digest("kdlm.teachers"),
    shell:
        "python -m kdlm train-teacher --spec {params.spec:q} --data {input.data:q}"
        " --output $(dirname {output.model:q}) 2> {log:q}"
