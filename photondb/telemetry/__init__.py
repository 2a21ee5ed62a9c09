"""What the suite tells its operators: logs, metrics, traces, and what can be looked up while it runs."""
