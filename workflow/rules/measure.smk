localrules:
    measure,


rule measure:
    input:
        SCORES,
        identities.truth_manifests(STUDY_CONFIG),
    output:
        [f"{STUDY}/{table}.parquet" for table in MEASURED],
    log:
        f"logs/measure/{STUDY_CONFIG.study}.log",
    params:
        cell=identities.measure(STUDY_CONFIG),
        code=version("measure"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal measure"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"
