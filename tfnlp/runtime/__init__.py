"""What a process is set to: its start, precision, threads, signals and exit status."""
