"""Compute mean outputs of untrained networks, in a job for each shard of seeds; summarise them."""


rule init_means:
    input:
        data=dataset_file(study.init_means.dataset),
    output:
        means=f"{FOLDER}/init_means/{INIT_MEANS.wildcard_pattern}/means.parquet",
    log:
        f"{FOLDER}/logs/init_means/{INIT_MEANS.wildcard_pattern}.log",
    benchmark:
        f"{FOLDER}/benchmarks/init_means/{INIT_MEANS.wildcard_pattern}.tsv"
    threads: study.threads
    resources:
        mem_mb=growing(2000),
        runtime=120,
    params:
        spec=spec_of(INIT_MEANS, INIT_MEANS_JOBS),
        sources=digest("kdlm.networks.init_means"),
    shell:
        "python -m kdlm init-means --spec {params.spec:q} --data {input.data:q}"
        " --output {output.means:q} 2> {log:q}"


rule summarise_init_means:
    input:
        study=STUDY,
        means=outputs("init_means", INIT_MEANS, "means.parquet"),
    output:
        layers=f"{FOLDER}/tables/layer_means.parquet",
        summary=f"{FOLDER}/tables/init_means.parquet",
    log:
        f"{FOLDER}/logs/summarise_init_means.log",
    benchmark:
        f"{FOLDER}/benchmarks/summarise_init_means.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        sources=digest("kdlm.tables.init_means"),
    shell:
        "python -m kdlm summarise $(dirname {input.study:q}) 2> {log:q}"
