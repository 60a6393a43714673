"""What a fingerprint says of weights: it changes with their content and with the names in a model folder."""

import os
from hashlib import sha256
from pathlib import Path

from pipeline.run.weights_digest import weights_digest


def test_a_file_that_is_replaced_has_another_digest_in_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for second, content in enumerate((b"first", b"other"), 1):
        path.write_bytes(content)
        os.utime(path, (second, second))
        assert weights_digest(str(path)) == sha256(content).hexdigest()


def test_a_model_folder_is_its_files_under_their_names_without_the_documents(tmp_path: Path) -> None:
    for folder, names in {
        "a": ("one.bin", "two.bin"),
        "b": ("one.bin", "zwei.bin"),
        "c": ("one.bin", "two.bin"),
    }.items():
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"1", b"2"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    (tmp_path / "c" / "README.md").write_text("about it")
    one, renamed, documented = (weights_digest(str(tmp_path / folder)) for folder in "abc")
    assert one != renamed
    assert one == documented
    assert weights_digest("hf-hub:timm/ViT-B-16-SigLIP") == "hf-hub:timm/ViT-B-16-SigLIP"
