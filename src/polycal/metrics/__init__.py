"""Calibration metrics in NumPy; usable without the rest of polycal."""
