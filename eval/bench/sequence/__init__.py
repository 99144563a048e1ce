"""Several concepts erased one after another, or together: what stays gone and what is kept after each."""
