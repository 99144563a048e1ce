"""Single files of FLUX.1 and Stable Diffusion 3.x: their transformer in the original layout, and the parts that such a file lacks."""
