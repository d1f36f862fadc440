rule measure:
    input:
        SCORES,
        identities.truth_manifests(STUDY_CONFIG),
        # A benchmark whose languages have different questions is not measured.
        [paths.PARALLEL.format(benchmark=b) for b in PARALLEL],
    output:
        [f"{STUDY}/{table}.parquet" for table in MEASURED],
    log:
        f"logs/measure/{STUDY_CONFIG.study}.log",
    # With more threads, the last digit of an interval may differ.
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        cell=identities.measure(STUDY_CONFIG),
        code=version("measure"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal measure"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"
