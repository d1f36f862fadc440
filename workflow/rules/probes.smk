# Prompt embeddings, and next tokens of held-out conversations. Their jobs run only if the configuration has the keys
# embeddings and next_token.
rule embed:
    input:
        model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
        questions=expand(
            paths.QUESTIONS,
            language=grid.embedded_languages(STUDY_CONFIG),
            allow_missing=True,
        ),
    output:
        expand(
            paths.EMBEDDINGS,
            language=grid.embedded_languages(STUDY_CONFIG) or ["none"],
            allow_missing=True,
        ),
    log:
        f"logs/embed/{paths.CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/pooling={{pooling}}.log",
    benchmark:
        f"logs/embed/{paths.CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/pooling={{pooling}}.jsonl"
    resources:
        gpu=lambda w: STUDY_CONFIG.models[w.model].scoring_gpus,
        mem_mb=lambda w: STUDY_CONFIG.models[w.model].scoring_memory_mb,
        runtime=lambda w: STUDY_CONFIG.models[w.model].scoring_minutes,
    params:
        cells=lambda w: identities.embed(STUDY_CONFIG, **w),
        code=version("embed"),
        questions=lambda w, input: [f"--questions={f}" for f in input.questions],
        out=lambda w, output: [f"--out={f}" for f in output],
    shell:
        "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal embed"
        " --cells {params.cells:q}"
        " --code {params.code}"
        " --model {input.model:q}"
        " {params.questions:q}"
        " {params.out:q}"
        f" --cache-dir {paths.CACHE}"
        " > {log:q} 2>&1"


rule measure_embeddings:
    input:
        measured=f"{STUDY}/cells.parquet",
        embeddings=EMBEDDED,
    output:
        [f"{STUDY}/{table}.parquet" for table in embedding_diversity.TABLES],
    log:
        f"logs/measure_embeddings/{STUDY_CONFIG.study}.log",
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        cell=identities.measure_embeddings(STUDY_CONFIG),
        code=version("measure_embeddings"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal measure-embeddings"
        " --measured {input.measured:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"


rule score_next_token:
    input:
        model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
        instructions=lambda w: paths.INSTRUCTIONS.format(data=w.heldout),
    output:
        paths.NEXT_TOKEN,
    log:
        f"logs/score_next_token/{paths.CHECKPOINT}/heldout={{heldout}}.log",
    benchmark:
        f"logs/score_next_token/{paths.CHECKPOINT}/heldout={{heldout}}.jsonl"
    resources:
        gpu=lambda w: STUDY_CONFIG.models[w.model].scoring_gpus,
        mem_mb=lambda w: STUDY_CONFIG.models[w.model].scoring_memory_mb,
        runtime=lambda w: STUDY_CONFIG.models[w.model].scoring_minutes,
    params:
        cell=lambda w: identities.score_next_token(STUDY_CONFIG, **w),
        code=version("score_next_token"),
    shell:
        "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal score-next-token"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --model {input.model:q}"
        " --instructions {input.instructions:q}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule measure_next_token:
    input:
        NEXT_TOKENS,
    output:
        [f"{STUDY}/{table}.parquet" for table in next_token_metrics.TABLES],
    log:
        f"logs/measure_next_token/{STUDY_CONFIG.study}.log",
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        cell=identities.measure_next_token(STUDY_CONFIG),
        code=version("measure_next_token"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal measure-next-token"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"
