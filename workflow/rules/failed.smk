# An empty job for studies with failed results. With it, a run that has nothing else to do still lists them at its end.
localrules:
    failed,


rule failed:
    output:
        touch(paths.FAILED),
