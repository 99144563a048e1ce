"""Image classifiers: data sets, networks, forget sets, saved networks and tasks. Imports no torch itself."""

FORMS = "random:10%, random:30, class:NAME, class:10%, class:random, identity:NAME or ids:FILE.csv"
"""The forms of a forget request."""

IMAGENET = "imagenet"
"""The weights that torchvision has for ImageNet."""
