localrules:
    miniature_data,


rule miniature_data:
    output:
        paths.MINIATURE_DATA,
    log:
        "logs/miniature/data.log",
    params:
        cell=lambda w: identities.miniature_data(STUDY_CONFIG),
        code=version("miniature_data"),
    shell:
        "polycal miniature-data"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule miniature_model:
    output:
        paths.MINIATURE_MODEL,
    log:
        "logs/miniature/{architecture}/base_seed={base_seed}.log",
    benchmark:
        "logs/miniature/{architecture}/base_seed={base_seed}.jsonl"
    params:
        cell=lambda w: identities.miniature_model(
            STUDY_CONFIG, w.architecture, w.base_seed
        ),
        code=version("miniature_model"),
    shell:
        "polycal miniature-model"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"
