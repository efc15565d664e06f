"""Evidence: the experiment, its records on disk, and statistics over them."""
