"""One rule for each figure, so that an edit to a figure's code draws only that figure again."""

# One rule with a wildcard cannot be used, because each figure has a digest of its own.
for name in FIGURE_NAMES:

    rule:
        name:
            f"figure_{name}"
        input:
            study=STUDY,
            tables=[f"{FOLDER}/{table}" for table in figure_inputs(name)],
        output:
            **figure(name),
        log:
            f"{FOLDER}/logs/figures/{name}.log",
        benchmark:
            f"{FOLDER}/benchmarks/figures/{name}.tsv"
        resources:
            mem_mb=growing(1000),
            runtime=10,
        params:
            name=name,
            caption=figure_caption(name),
            losses=LOSS_FACTS,
            sources=digest(f"kdlm.figures.{name}"),
        shell:
            "python -m kdlm figure $(dirname {input.study:q}) {params.name} 2> {log:q}"
