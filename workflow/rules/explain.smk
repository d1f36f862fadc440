# What looks further than answers: embeddings of prompts, next tokens of held-out conversations. Neither runs
# unless the configuration says so.
localrules:
    diversity,
    tokens,


rule embed:
    input:
        model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
        questions=expand(
            grid.QUESTIONS,
            language=grid.embedded_languages(STUDY_CONFIG),
            allow_missing=True,
        ),
    output:
        expand(
            grid.EMBEDDINGS,
            language=grid.embedded_languages(STUDY_CONFIG) or ["none"],
            allow_missing=True,
        ),
    log:
        f"logs/embed/{grid.CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/pooling={{pooling}}.log",
    benchmark:
        f"logs/embed/{grid.CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/pooling={{pooling}}.jsonl"
    resources:
        gpu=lambda w: STUDY_CONFIG.models[w.model].scoring_gpus,
        mem_mb=lambda w: STUDY_CONFIG.models[w.model].scoring_memory_mb,
        runtime=lambda w: STUDY_CONFIG.models[w.model].scoring_minutes,
    params:
        cells=lambda w: grid.embed_cells(STUDY_CONFIG, **w),
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
        " --kept results/.kept"
        " > {log:q} 2>&1"


rule diversity:
    input:
        measured=f"{STUDY}/cells.parquet",
        embeddings=EMBEDDED,
    output:
        [f"{STUDY}/{table}.parquet" for table in diversity.TABLES],
    log:
        f"logs/diversity/{STUDY_CONFIG.study}.log",
    params:
        cell=grid.diversity_cell(STUDY_CONFIG),
        code=version("diversity"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal diversity"
        " --measured {input.measured:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"


rule next_token:
    input:
        model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
        instructions=lambda w: grid.INSTRUCTIONS.format(data=w.heldout),
    output:
        grid.TOKENS,
    log:
        f"logs/next_token/{grid.CHECKPOINT}/heldout={{heldout}}.log",
    benchmark:
        f"logs/next_token/{grid.CHECKPOINT}/heldout={{heldout}}.jsonl"
    resources:
        gpu=lambda w: STUDY_CONFIG.models[w.model].scoring_gpus,
        mem_mb=lambda w: STUDY_CONFIG.models[w.model].scoring_memory_mb,
        runtime=lambda w: STUDY_CONFIG.models[w.model].scoring_minutes,
    params:
        cell=lambda w: grid.next_token_cell(STUDY_CONFIG, **w),
        code=version("next_token"),
    shell:
        "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal next-token"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --model {input.model:q}"
        " --instructions {input.instructions:q}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule tokens:
    input:
        NEXT_TOKENS,
    output:
        [f"{STUDY}/{table}.parquet" for table in tokens.TABLES],
    log:
        f"logs/tokens/{STUDY_CONFIG.study}.log",
    params:
        cell=grid.tokens_cell(STUDY_CONFIG),
        code=version("tokens"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal tokens"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"
