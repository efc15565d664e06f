"""What the scripts share: data, timing, the runner, tables, and studies of published methods."""
