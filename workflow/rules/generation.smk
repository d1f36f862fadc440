# Generated answers to questions without options. The jobs run only if the configuration has the key generation. There is
# a rule for each batch of languages; its jobs load the model once for all of them.
for benchmark, number, languages in grid.generation_batches(STUDY_CONFIG):

    rule:
        name:
            f"generate_{benchmark}_{number:02d}"
        input:
            model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
            questions=expand(paths.QUESTIONS, benchmark=benchmark, language=languages),
        output:
            expand(
                paths.GENERATIONS,
                benchmark=benchmark,
                language=languages,
                allow_missing=True,
            ),
        log:
            f"logs/generate/{paths.CHECKPOINT}/{benchmark}_{number:02d}.log",
        benchmark:
            f"logs/generate/{paths.CHECKPOINT}/{benchmark}_{number:02d}.jsonl"
        resources:
            gpu=lambda w: base(w).scoring_gpus,
            mem_mb=lambda w: base(w).scoring_memory_mb,
            runtime=lambda w: base(w).scoring_minutes,
        params:
            cells=partial(generation_cells, benchmark=benchmark, languages=languages),
            code=version("generate"),
            questions=lambda w, input: [f"--questions={f}" for f in input.questions],
            out=lambda w, output: [f"--out={f}" for f in output],
        shell:
            # TQDM_DISABLE: progress bars make a log unreadable.
            "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal generate"
            " --cells {params.cells:q}"
            " --code {params.code}"
            " --model {input.model:q}"
            " {params.questions:q}"
            " {params.out:q}"
            f" --cache-dir {paths.CACHE}"
            " > {log:q} 2>&1"


# Clusters of the answers by meaning, if the configuration names an entailment model. A job loads it once.
for benchmark, number, languages in (
    grid.generation_batches(STUDY_CONFIG) if ENTAILMENT else []
):

    rule:
        name:
            f"cluster_{benchmark}_{number:02d}"
        input:
            entailment=paths.MODEL.format(model=ENTAILMENT, base_seed=NONE),
            questions=expand(paths.QUESTIONS, benchmark=benchmark, language=languages),
            generations=expand(
                paths.GENERATIONS,
                benchmark=benchmark,
                language=languages,
                allow_missing=True,
            ),
        output:
            expand(
                paths.CLUSTERS,
                benchmark=benchmark,
                entailment=ENTAILMENT,
                language=languages,
                allow_missing=True,
            ),
        log:
            f"logs/cluster/{paths.CHECKPOINT}/{benchmark}_{number:02d}.log",
        benchmark:
            f"logs/cluster/{paths.CHECKPOINT}/{benchmark}_{number:02d}.jsonl"
        resources:
            gpu=STUDY_CONFIG.models[ENTAILMENT].scoring_gpus,
            mem_mb=STUDY_CONFIG.models[ENTAILMENT].scoring_memory_mb,
            runtime=STUDY_CONFIG.models[ENTAILMENT].scoring_minutes,
        params:
            cells=partial(cluster_cells, benchmark=benchmark, languages=languages),
            code=version("cluster"),
            questions=lambda w, input: [f"--questions={f}" for f in input.questions],
            generations=lambda w, input: [
                f"--generations={f}" for f in input.generations
            ],
            out=lambda w, output: [f"--out={f}" for f in output],
        shell:
            "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal cluster"
            " --cells {params.cells:q}"
            " --code {params.code}"
            " --entailment {input.entailment:q}"
            " {params.questions:q}"
            " {params.generations:q}"
            " {params.out:q}"
            f" --cache-dir {paths.CACHE}"
            " > {log:q} 2>&1"


rule measure_generation:
    input:
        GENERATED,
        CLUSTERED,
        # A benchmark whose languages have different questions is not measured.
        grid.parallel_checks(grid.generated_languages(STUDY_CONFIG)),
    output:
        [f"{STUDY}/{table}.parquet" for table in generation_table.TABLES],
    log:
        f"logs/measure_generation/{STUDY_CONFIG.study}.log",
    # With more threads, the last digit of an interval may differ.
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        cell=identities.measure_generation(STUDY_CONFIG),
        code=version("measure_generation"),
        folder=lambda w, output: os.path.dirname(output[0]),
    shell:
        "polycal measure-generation"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {params.folder:q}"
        " > {log:q} 2>&1"
