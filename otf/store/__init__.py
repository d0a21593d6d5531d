"""Files: journal, checkpoints, trajectory, model file, importers."""
