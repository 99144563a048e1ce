"""The one check of a model folder against its own configuration, before anything is drawn, measured or written.

`folder.check_model_folder` is its entrance for every command and the page. It reads JSON files and the headers of weight files, and builds
networks on torch's meta device, so its cost does not depend on the size of the weights. Their values are checked where they are read
anyway (`values`).
"""
