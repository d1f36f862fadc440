"""The label-smoothed cross entropy; usable without the rest of polycal."""
