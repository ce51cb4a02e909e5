"""Train teachers by cross-entropy, or evaluate teachers that were trained elsewhere.

No distillation loss is among the sources of a teacher, so an edited loss retrains no teacher.
"""

TEACHER = f"{FOLDER}/teachers/{TEACHERS.wildcard_pattern}"


rule bring_teacher:
    input:
        data=dataset_file(study.dataset),
        weights=brought_weights,
    output:
        model=f"{TEACHER}/model.safetensors",
        history=f"{TEACHER}/history.parquet",
        logits=f"{TEACHER}/logits.parquet",
        run=f"{TEACHER}/run.json",
    log:
        f"{FOLDER}/logs/teachers/{TEACHERS.wildcard_pattern}.log",
    benchmark:
        f"{FOLDER}/benchmarks/teachers/{TEACHERS.wildcard_pattern}.tsv"
    wildcard_constraints:
        initialisation=BROUGHT,
    threads: study.threads
    resources:
        mem_mb=growing(3000),
        runtime=60,
    params:
        spec=spec_of(TEACHERS, TEACHER_JOBS),
        sources=digest("kdlm.training.brought"),
    shell:
        "python -m kdlm bring-teacher --spec {params.spec:q} --data {input.data:q}"
        " --weights {input.weights:q} --output $(dirname {output.model:q}) 2> {log:q}"


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
    wildcard_constraints:
        initialisation=f"(?!{BROUGHT}/)[^/]+",
    threads: study.threads
    resources:
        mem_mb=growing(3000),
        gpu=GPUS,
        runtime=1440,
        # Epochs and minutes of training that a killed job can lose. They are resources and not
        # parameters, because they change no result and must not rerun anything.
        checkpoint_epochs=10,
        checkpoint_minutes=10,
    params:
        checkpoint=f"{FOLDER}/checkpoints/teachers/{TEACHERS.wildcard_pattern}/checkpoint.safetensors",
        spec=spec_of(TEACHERS, TEACHER_JOBS),
        sources=digest("kdlm.training.teachers"),
    shell:
        "python -m kdlm train-teacher --spec {params.spec:q} --data {input.data:q}"
        " --checkpoint {params.checkpoint:q} --checkpoint-epochs {resources.checkpoint_epochs}"
        " --checkpoint-minutes {resources.checkpoint_minutes}"
        " --output $(dirname {output.model:q}) 2> {log:q}"
