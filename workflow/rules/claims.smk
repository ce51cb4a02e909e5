"""Judge the claims: the verdicts on them are the final output of the study."""


rule judge:
    input:
        study=STUDY,
        runs=rules.collect.output.runs,
        histories=rules.collect.output.histories,
        comparisons=rules.compare.output,
        layers=rules.summarise_init_means.output.layers,
        init_means=rules.summarise_init_means.output.summary,
        limit=rules.theory.output.limit,
        identities=rules.theory.output.identities,
    output:
        claims=report(
            f"{FOLDER}/claims.parquet",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "claims"},
        ),
    log:
        f"{FOLDER}/logs/judge.log",
    benchmark:
        f"{FOLDER}/benchmarks/judge.tsv"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        losses=LOSS_FACTS,
        sources=digest("kdlm.claims"),
    shell:
        "python -m kdlm judge $(dirname {input.study:q}) 2> {log:q}"
