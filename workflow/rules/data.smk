"""Write the study's resolved config, and decode each of its datasets once, into one file."""


rule resolve:
    output:
        STUDY,
    log:
        f"{FOLDER}/logs/resolve.log",
    benchmark:
        f"{FOLDER}/benchmarks/resolve.tsv"
    # The priority makes this job start first, so that margins and tolerances are on disk before
    # any result. study.json is not an input of prepare_dataset, because every change of the config
    # would then prepare the dataset again. An input marked ancient() would not work either: after
    # a change of the config Snakemake would overlook other changes, and a new learning rate would
    # train nothing.
    priority: 1
    resources:
        mem_mb=growing(500),
        runtime=5,
    params:
        config=study.canonical_json(),
    shell:
        # The config comes from stdin, because the system limits the length of an argument.
        "python -m kdlm resolve --config - --output {output:q} 2> {log:q} <<< {params.config:q}"


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
