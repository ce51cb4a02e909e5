"""One rule a figure: an edit to a figure's code draws that figure again, and nothing else."""


rule figure_gradient_limit:
    input:
        study=STUDY,
        table=rules.theory.output.limit,
    output:
        **figure("gradient_limit"),
    log:
        f"{FOLDER}/logs/figures/gradient_limit.log",
    benchmark:
        f"{FOLDER}/benchmarks/figures/gradient_limit.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        sources=digest("kdlm.figures.gradient_limit"),
    shell:
        "python -m kdlm figure $(dirname {input.study:q}) gradient_limit 2> {log:q}"


rule figure_training_means:
    input:
        study=STUDY,
        histories=rules.collect.output.histories,
        runs=rules.collect.output.runs,
    output:
        **figure("training_means"),
    log:
        f"{FOLDER}/logs/figures/training_means.log",
    benchmark:
        f"{FOLDER}/benchmarks/figures/training_means.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        sources=digest("kdlm.figures.training_means"),
    shell:
        "python -m kdlm figure $(dirname {input.study:q}) training_means 2> {log:q}"


rule figure_init_means:
    input:
        study=STUDY,
        table=rules.summarise_init_means.output.summary,
    output:
        **figure("init_means"),
    log:
        f"{FOLDER}/logs/figures/init_means.log",
    benchmark:
        f"{FOLDER}/benchmarks/figures/init_means.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        sources=digest("kdlm.figures.init_means"),
    shell:
        "python -m kdlm figure $(dirname {input.study:q}) init_means 2> {log:q}"


rule figure_accuracy:
    input:
        study=STUDY,
        table=rules.collect.output.runs,
    output:
        **figure("accuracy"),
    log:
        f"{FOLDER}/logs/figures/accuracy.log",
    benchmark:
        f"{FOLDER}/benchmarks/figures/accuracy.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        sources=digest("kdlm.figures.accuracy"),
    shell:
        "python -m kdlm figure $(dirname {input.study:q}) accuracy 2> {log:q}"


rule figure_distances:
    input:
        study=STUDY,
        table=rules.compare.output,
    output:
        **figure("distances"),
    log:
        f"{FOLDER}/logs/figures/distances.log",
    benchmark:
        f"{FOLDER}/benchmarks/figures/distances.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        sources=digest("kdlm.figures.distances"),
    shell:
        "python -m kdlm figure $(dirname {input.study:q}) distances 2> {log:q}"


rule figure_routes:
    input:
        study=STUDY,
        claims=rules.claims.output.claims,
    output:
        **figure("routes"),
    log:
        f"{FOLDER}/logs/figures/routes.log",
    benchmark:
        f"{FOLDER}/benchmarks/figures/routes.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        sources=digest("kdlm.figures.routes"),
    shell:
        "python -m kdlm figure $(dirname {input.study:q}) routes 2> {log:q}"
