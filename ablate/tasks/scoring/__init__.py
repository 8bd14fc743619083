"""What tasks share for scoring: metrics, agreement with labels, shallow baselines."""
