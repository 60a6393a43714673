"""The stages stand on their own: they import where Ray is not installed."""

import subprocess
import sys

from tests.runs import ROOT

WALK = """
import builtins, pkgutil, importlib, sys
real = builtins.__import__
def guarded(name, *args, **kwargs):
    if name.partition(".")[0] in ("ray", "pipeline"):
        raise ImportError(f"stages asked for {name}")
    return real(name, *args, **kwargs)
builtins.__import__ = guarded
import stages
names = [m.name for m in pkgutil.walk_packages(stages.__path__, "stages.")]
for name in names:
    importlib.import_module(name)
print(len(names), "ray" in sys.modules)
"""


def test_stages_import_without_ray() -> None:
    done = subprocess.run([sys.executable, "-c", WALK], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    count, ray = done.stdout.split()
    assert int(count) > 30
    assert ray == "False"
