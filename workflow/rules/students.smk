"""Train the students: one job for each combination that the arms of the config ask for."""

STUDENT = f"{FOLDER}/students/{STUDENTS.wildcard_pattern}"


rule distill:
    input:
        data=dataset_file(study.dataset),
        teacher=teacher_file("model.safetensors", STUDENTS, STUDENT_JOBS),
        teacher_logits=teacher_file("logits.parquet", STUDENTS, STUDENT_JOBS),
        teacher_history=teacher_file("history.parquet", STUDENTS, STUDENT_JOBS),
        # What changes the answers changes another input or a parameter too: teacher, dataset, spec or
        # sources. If their time counted, answers that are made again after `kdlm clean` would rerun
        # the finished students.
        answers=ancient(answers_file),
    output:
        model=f"{STUDENT}/model.safetensors",
        history=f"{STUDENT}/history.parquet",
        logits=f"{STUDENT}/logits.parquet",
        run=f"{STUDENT}/run.json",
    log:
        f"{FOLDER}/logs/students/{STUDENTS.wildcard_pattern}.log",
    benchmark:
        f"{FOLDER}/benchmarks/students/{STUDENTS.wildcard_pattern}.tsv"
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
        checkpoint=f"{FOLDER}/checkpoints/students/{STUDENTS.wildcard_pattern}/checkpoint.safetensors",
        spec=spec_of(STUDENTS, STUDENT_JOBS),
        sources=digest("kdlm.training.students") + digest("kdlm.training.answers"),
    shell:
        "python -m kdlm distill --spec {params.spec:q} --data {input.data:q}"
        " --teacher $(dirname {input.teacher:q}) --answers {input.answers:q}"
        " --checkpoint {params.checkpoint:q} --checkpoint-epochs {resources.checkpoint_epochs}"
        " --checkpoint-minutes {resources.checkpoint_minutes}"
        " --output $(dirname {output.model:q}) 2> {log:q}"
