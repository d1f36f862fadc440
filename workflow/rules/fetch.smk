localrules:
    fetch_model,
    fetch_instructions,
    fetch_benchmark,
    check_parallel,


rule fetch_model:
    input:
        lambda w: source_of(STUDY_CONFIG.models[w.model], base_seed=w.base_seed),
    output:
        paths.MODEL,
    log:
        "logs/fetch_model/{model}/base_seed={base_seed}.log",
    params:
        cell=lambda w: identities.fetch_model(STUDY_CONFIG, w.model, w.base_seed),
        code=version("fetch_model"),
    shell:
        "polycal fetch-model"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule fetch_instructions:
    input:
        lambda w: source_of(STUDY_CONFIG.data[w.data]),
    output:
        paths.INSTRUCTIONS,
    log:
        "logs/fetch_instructions/{data}.log",
    params:
        cell=lambda w: identities.fetch_instructions(STUDY_CONFIG, w.data),
        code=version("fetch_instructions"),
    shell:
        "polycal fetch-instructions"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule fetch_benchmark:
    input:
        lambda w: source_of(STUDY_CONFIG.benchmarks[w.benchmark], w.language),
    output:
        paths.QUESTIONS,
    log:
        "logs/fetch_benchmark/{benchmark}/{language}.log",
    params:
        cell=lambda w: identities.fetch_benchmark(STUDY_CONFIG, w.benchmark, w.language),
        code=version("fetch_benchmark"),
    shell:
        "polycal fetch-benchmark"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule check_parallel:
    input:
        questions=lambda w: questions_of(w.benchmark),
    output:
        paths.PARALLEL,
    log:
        "logs/check_parallel/{benchmark}.log",
    params:
        cell=lambda w: identities.check_parallel(STUDY_CONFIG, w.benchmark),
        code=version("check_parallel"),
        questions=lambda w, input: [f"--questions={f}" for f in input.questions],
    shell:
        "polycal check-parallel {params.questions:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


# Local jobs read files or ask a hub, which they ask again themselves, so a second try would fail in the same way.
# Snakemake ignores a `retries: 0` of a rule where the profile has retries.
for name in ("fetch_model", "fetch_instructions", "fetch_benchmark", "check_parallel"):
    workflow.get_rule(name).restart_times = 0
