"""Pre-training methods by the name that ``pretrain.method`` takes; one module each."""

from typing import Any

from stages.pretrain.method import Method
from stages.pretrain.methods.clip import Clip

METHODS: dict[str, type[Method[Any]]] = {"clip": Clip}
