localrules:
    fetch_model,
    fetch_instructions,
    fetch_benchmark,
    check_parallel,


rule fetch_model:
    input:
        lambda w: source_of(STUDY_CONFIG.models[w.model]),
    output:
        grid.MODEL,
    log:
        "logs/fetch_model/{model}.log",
    retries: 2
    params:
        cell=lambda w: grid.fetch_model_cell(STUDY_CONFIG, w.model),
        code=version("fetch_model"),
    shell:
        "polycal fetch-model"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule fetch_instructions:
    input:
        lambda w: source_of(STUDY_CONFIG.data[w.data]),
    output:
        grid.INSTRUCTIONS,
    log:
        "logs/fetch_instructions/{data}.log",
    retries: 2
    params:
        cell=lambda w: grid.fetch_instructions_cell(STUDY_CONFIG, w.data),
        code=version("fetch_instructions"),
    shell:
        "polycal fetch-instructions"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule fetch_benchmark:
    input:
        lambda w: source_of(STUDY_CONFIG.benchmarks[w.benchmark], w.language),
    output:
        grid.QUESTIONS,
    log:
        "logs/fetch_benchmark/{benchmark}/{language}.log",
    retries: 2
    params:
        cell=lambda w: grid.fetch_benchmark_cell(STUDY_CONFIG, w.benchmark, w.language),
        code=version("fetch_benchmark"),
    shell:
        "polycal fetch-benchmark"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule check_parallel:
    input:
        lambda w: questions_of(w.benchmark),
    output:
        grid.PARALLEL,
    log:
        "logs/check_parallel/{benchmark}.log",
    params:
        cell=lambda w: grid.check_parallel_cell(w.benchmark, SPOKEN[w.benchmark]),
        code=version("check_parallel"),
    shell:
        "polycal check-parallel {input:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"
