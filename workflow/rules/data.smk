"""The study's resolved config, and every dataset: decoded once, to a file that all jobs map."""


rule resolve:
    output:
        STUDY,
    log:
        f"{FOLDER}/logs/resolve.log",
    benchmark:
        f"{FOLDER}/benchmarks/resolve.tsv"
    # It starts first: margins and tolerances are on disk before there is anything to hold to them.
    # As an input of the preparation it would rerun that; as an ancient one, any change of the config
    # would hide from Snakemake what else has changed, and a new learning rate trained nothing.
    priority: 1
    resources:
        mem_mb=growing(500),
        runtime=5,
    params:
        config=study.canonical_json(),
    shell:
        "python -m kdlm resolve --config {params.config:q} --output {output:q} 2> {log:q}"


rule prepare_dataset:
    output:
        f"{FOLDER}/data/{{dataset}}.safetensors",
    log:
        f"{FOLDER}/logs/data/{{dataset}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/data/{{dataset}}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        options=dataset_options,
        files=dataset_files,
        sources=digest("kdlm.data.loaders"),
    shell:
        "python -m kdlm prepare --name {wildcards.dataset:q} {params.options:q}"
        " --output {output:q} 2> {log:q}"
