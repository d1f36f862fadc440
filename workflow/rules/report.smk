localrules:
    partial,


rule report:
    input:
        measured=[f"{STUDY}/{table}.parquet" for table in TABLES],
    output:
        # Only files that no rule reads are flagged, because Snakemake's report fails if a flagged input is missing.
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
    # Each thread is a process that draws figures.
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        # A function, because a path may contain {language}, which Snakemake would otherwise take for a wildcard.
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
        f" --earlier-figures {paths.FIGURES}"
        " --processes {threads}"
        " --out {output.report:q}"
        " > {log:q} 2>&1"


rule partial:
    output:
        report=report(
            f"{PARTIAL_STUDY}/report.html",
            **PAGE,
            labels={"result": "the results so far on one page"},
        ),
        landing=f"{PARTIAL_STUDY}/provenance/landing.yaml",
    log:
        f"logs/report/{STUDY_CONFIG.study}{paths.PARTIAL_SUFFIX}.log",
    params:
        # This parameter changes with every new or replaced record, so that Snakemake makes the page again.
        existing=lambda w: times_of(
            [*SCORES, *EMBEDDED, *NEXT_TOKENS, *GENERATED, *CLUSTERED]
        ),
        measure=identities.measure(STUDY_CONFIG),
        report=lambda w: REPORT_CELL,
        codes=[version("measure"), version("report")],
        study=lambda w, output: os.path.dirname(output.report),
        measured=[f"--measured={PARTIAL_STUDY}/{table}.parquet" for table in MEASURED],
        probes=lambda w, output: partial_probe_tables(os.path.dirname(output.report)),
    shell:
        "(polycal measure --partial --cell {params.measure:q}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.study:q}"
        " && {params.probes}"
        "polycal report --cell {params.report:q} {params.measured:q} --out {output.report:q})"
        " > {log:q} 2>&1"
