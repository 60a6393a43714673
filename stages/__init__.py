"""What is done: one package per stage, plain Python over arrays, Arrow tables and files.

Nothing here knows of Ray, of the corpus or of its paths, so every step can be tried in a notebook. ``pipeline``
decides where and when the steps run.
"""
