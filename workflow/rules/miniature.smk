localrules:
    miniature_data,


rule miniature_data:
    output:
        grid.MINIATURE_DATA,
    log:
        "logs/miniature/data.log",
    params:
        cell=lambda w: grid.miniature_data_cell(STUDY_CONFIG),
        code=version("miniature_data"),
    shell:
        "polycal miniature-data"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule miniature_model:
    output:
        grid.MINIATURE_MODEL,
    log:
        "logs/miniature/{architecture}.log",
    benchmark:
        "logs/miniature/{architecture}.jsonl"
    params:
        cell=lambda w: grid.miniature_model_cell(STUDY_CONFIG, w.architecture),
        code=version("miniature_model"),
    shell:
        "polycal miniature-model"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"
