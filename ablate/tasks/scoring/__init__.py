"""What tasks have in common when they score: metrics, agreement with labels, shallow baselines."""
