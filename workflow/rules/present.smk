localrules:
    present,


rule present:
    input:
        [f"{STUDY}/{table}.parquet" for table in TABLES],
    output:
        report=f"{STUDY}/report.html",
        table=f"{STUDY}/tables/table1.md",
    log:
        f"logs/present/{STUDY_CONFIG.study}.log",
    params:
        # a function: a path may hold {language}, which Snakemake would take for a wildcard
        cell=lambda w: grid.present_cell(STUDY_CONFIG),
        code=version("present"),
        study=lambda w, output: os.path.dirname(output.report),
    shell:
        "polycal present --cell {params.cell:q} --study {params.study:q} > {log:q} 2>&1"
