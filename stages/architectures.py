"""The architectures that open_clip knows by name."""

from difflib import get_close_matches


def known(model: str) -> bool:
    """Whether open_clip knows an architecture of this name, treating a slash as a dash (ViT-B/16)."""
    import open_clip

    return model.replace("/", "-") in open_clip.list_models()


def nearest(model: str) -> str:
    """Similar names, for a message: open_clip has more than a hundred."""
    import open_clip

    names = open_clip.list_models()
    return ", ".join(get_close_matches(model, names, cutoff=0.4) or names[:3])
