SCORED = [*CHECKPOINT_KEYS, "protocol"]


def score_cells(wildcards, benchmark, languages):
    """What determines the records of one scoring job."""
    names = {key: wildcards[key] for key in SCORED}
    return identities.score(STUDY_CONFIG, languages, benchmark=benchmark, **names)


for benchmark, number, languages in BATCHES:

    rule:
        name:
            f"score_{benchmark}_{number:02d}"
        input:
            model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
            questions=expand(paths.QUESTIONS, benchmark=benchmark, language=languages),
        output:
            expand(
                paths.SCORES,
                benchmark=benchmark,
                language=languages,
                allow_missing=True,
            ),
        log:
            f"logs/score/{paths.CHECKPOINT}/protocol={{protocol}}/{benchmark}_{number:02d}.log",
        benchmark:
            f"logs/score/{paths.CHECKPOINT}/protocol={{protocol}}/{benchmark}_{number:02d}.jsonl"
        resources:
            gpu=lambda w: STUDY_CONFIG.models[w.model].scoring_gpus,
            mem_mb=lambda w: STUDY_CONFIG.models[w.model].scoring_memory_mb,
            runtime=lambda w: STUDY_CONFIG.models[w.model].scoring_minutes,
        params:
            cells=partial(score_cells, benchmark=benchmark, languages=languages),
            code=version("score"),
            questions=lambda w, input: [f"--questions={f}" for f in input.questions],
            out=lambda w, output: [f"--out={f}" for f in output],
        shell:
            # bars that redraw themselves make a log unreadable
            "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal score"
            " --cells {params.cells:q}"
            " --code {params.code}"
            " --model {input.model:q}"
            " {params.questions:q}"
            " {params.out:q}"
            " --kept results/.kept"
            " > {log:q} 2>&1"
