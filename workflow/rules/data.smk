"""Every dataset is decoded once, to one file that all other jobs map into memory."""

DATASETS = {dataset.name: dataset for dataset in (study.dataset, study.init_means.dataset)}


def dataset_options(wildcards):
    """Command-line options that say where the raw files of a dataset are."""
    dataset = DATASETS[wildcards.dataset]
    options = [] if dataset.root is None else ["--root", dataset.root]
    options += [] if dataset.download else ["--no-download"]
    options += [] if dataset.image_side is None else ["--image-side", str(dataset.image_side)]
    return options


rule prepare_dataset:
    output:
        f"{FOLDER}/data/{{dataset}}.safetensors",
    params:
        options=dataset_options,
        sources=digest("kdlm.data") + digest("kdlm.prepared"),
    log:
        f"{FOLDER}/logs/data/{{dataset}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/data/{{dataset}}.tsv"
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "python -m kdlm prepare --name {wildcards.dataset:q} {params.options:q}"
        " --output {output:q} 2> {log:q}"
