"""Run records and costs."""

from polycal.store import manifest_schema, provenance, slurm


def test_a_meter_counts_costs_from_reading_to_reading_and_the_queue_once(monkeypatch, tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho '2026-01-01T10:00:00|2026-01-01T10:01:30'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    slurm.queue_seconds.cache_clear()
    meter = provenance.Meter()
    first, second = meter.read(), meter.read()
    slurm.queue_seconds.cache_clear()
    assert (first["queue_seconds"], second["queue_seconds"]) == (90.0, 0.0)
    assert first["wall_seconds"] > second["wall_seconds"] >= 0
    assert first["cpu_seconds"] > 0
    assert (first["gpus"], first["gpu_seconds"]) == (0, 0.0)
    manifest_schema.Cost.model_validate(first)
