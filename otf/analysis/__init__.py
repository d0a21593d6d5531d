"""What trajectories and predictions say: errors, structure."""
