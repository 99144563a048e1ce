"""Model files: folders, single files both ways, weight names, export and the model card."""

FORMATS = ("folder", "single-file", "unet")
DTYPES = ("source", "float16", "float32")  # of exported weights; `source`: as they are
