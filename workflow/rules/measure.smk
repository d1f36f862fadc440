rule measure:
    input:
        SCORES,
        identities.truth_manifests(STUDY_CONFIG),
        # A benchmark whose languages have different questions is not measured.
        PARALLEL,
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


# Groups of questions, such as subjects. The job runs only if the configuration has by_group.
rule measure_groups:
    input:
        GROUPED,
        PARALLEL if GROUPED else [],
    output:
        [f"{STUDY}/{table}.parquet" for table in group_tables.TABLES],
    log:
        f"logs/measure_groups/{STUDY_CONFIG.study}.log",
    # With more threads, the last digit of an interval may differ.
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        cell=identities.measure_groups(STUDY_CONFIG),
        code=version("measure_groups"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal measure-groups"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"
