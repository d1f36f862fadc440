localrules:
    partial,


rule report:
    input:
        measured=[f"{STUDY}/{table}.parquet" for table in TABLES],
    output:
        # Only files that no rule reads are flagged: Snakemake's report fails if a flagged input file is missing.
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
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        # a function: a path may contain {language}, which Snakemake would take for a wildcard
        cell=lambda w: REPORT_CELL,
        code=version("report"),
        measured=lambda w, input: [f"--measured={f}" for f in input.measured],
        captions=lambda w: {kind: about.caption for kind, about in FIGURE_KINDS.items()},
    shell:
        "polycal report"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " {params.measured:q}"
        f" --cache-dir {paths.CACHE}"
        " --out {output.report:q}"
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
        # a new record, or another one in its place, changes this parameter, so that the page is made again
        existing=lambda w: times_of([*SCORES, *EMBEDDED, *NEXT_TOKENS]),
        measure=identities.measure(STUDY_CONFIG),
        report=lambda w: REPORT_CELL,
        codes=[version("measure"), version("report")],
        study=lambda w, output: os.path.dirname(output.report),
        measured=[f"--measured={STUDY}-partial/{table}.parquet" for table in MEASURED],
        further=lambda w, output: further_partial_tables(os.path.dirname(output.report)),
    shell:
        "(polycal measure --partial --cell {params.measure:q}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.study:q}"
        " && {params.further}"
        "polycal report --cell {params.report:q} {params.measured:q} --out {output.report:q})"
        " > {log:q} 2>&1"
