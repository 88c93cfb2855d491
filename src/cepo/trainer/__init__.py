"""The only place that knows TRL."""
