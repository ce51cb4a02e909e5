"""Write the page with the study's answer."""


rule write_report:
    input:
        study=STUDY,
        tables=[f"{FOLDER}/{table_path(name)}" for name in TABLES],
        claims=rules.judge.output.claims,
        figures=[path for path in FIGURES if path.endswith(".svg")],
    output:
        report=report(
            f"{FOLDER}/report.html",
            caption="../report/report.rst",
            category="Answer",
            labels={"page": "report.html"},
        ),
        answer=f"{FOLDER}/answer.txt",
    log:
        f"{FOLDER}/logs/write_report.log",
    benchmark:
        f"{FOLDER}/benchmarks/write_report.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        losses=LOSS_FACTS,
        sources=digest("kdlm.report"),
    shell:
        "python -m kdlm report $(dirname {input.study:q}) 2> {log:q}"
