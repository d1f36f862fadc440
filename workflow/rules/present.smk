localrules:
    report,
    partial,


rule report:
    input:
        [f"{STUDY}/{table}.parquet" for table in TABLES],
    output:
        # leaves alone are flagged: Snakemake's report fails where a flagged file of the graph is missing
        report=report(
            f"{STUDY}/report.html", **PAGE, labels={"result": "the study on one page"}
        ),
        table=f"{STUDY}/tables/table1.md",
        numbers=report(
            f"{STUDY}/tables/table1.csv",
            caption="../report/table1.rst",
            category=PAGE["category"],
            labels={"result": "Table 1 in full"},
        ),
        figures=report(
            directory(f"{STUDY}/figures"),
            patterns=["{kind,[a-z]+}-{name}.png"],
            caption="../report/figure.rst",
            category=question,
            labels={"figure": "{kind}", "of": "{name}"},
        ),
        landing=f"{STUDY}/provenance/landing.yaml",
    log:
        f"logs/report/{STUDY_CONFIG.study}.log",
    params:
        # a function: a path may hold {language}, which Snakemake would take for a wildcard
        cell=lambda w: REPORT_CELL,
        code=version("report"),
        study=lambda w, output: os.path.dirname(output.report),
    shell:
        "polycal present"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --study {params.study:q}"
        " > {log:q} 2>&1"


rule partial:
    output:
        report=report(
            f"{STUDY}-partial/report.html",
            **PAGE,
            labels={"result": "what is there so far, on one page"},
        ),
        landing=f"{STUDY}-partial/provenance/landing.yaml",
    log:
        f"logs/report/{STUDY_CONFIG.study}-partial.log",
    params:
        # records that appear change this, and the page is made again
        there=lambda w: " ".join(
            str(n) for n, f in enumerate(SCORES) if os.path.exists(f)
        ),
        measure=identities.measure(STUDY_CONFIG),
        present=lambda w: REPORT_CELL,
        codes=[version("measure"), version("report")],
        study=lambda w, output: os.path.dirname(output.report),
    shell:
        "(polycal measure --partial --cell {params.measure:q} --kept results/.kept --out {params.study:q}"
        " && polycal present --cell {params.present:q} --study {params.study:q})"
        " > {log:q} 2>&1"
