"""Measures of an erasure, from pictures. The name shadows a builtin if imported whole: only ever `from eval.x import y`."""
