localrules:
    world_benchmark,


rule world_benchmark:
    output:
        paths.WORLD_MANIFEST,
    log:
        "logs/world.log",
    params:
        cell=lambda w: identities.world_benchmark(STUDY_CONFIG),
        code=version("world_benchmark"),
    shell:
        "polycal world-benchmark"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"
