"""The tables and figures of the Scissorhands paper: their facts, their runs, and our values beside the published ones."""
