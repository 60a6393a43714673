"""What goes into the wheel; everything else about the package is in pyproject.toml.

Recipes, weights and the demo's video stay at the top of the repository, where users and docs look for them. In a wheel
they lie in the package ``reidforge``, as top-level names such as ``models`` would clash with other packages.
``stages/resources.py`` finds them in both places. pyproject.toml cannot express this: it takes either a rule that
finds packages or a list of them.
"""

from setuptools import find_packages, setup

SHIPPED = {
    "demo": ["street.mp4", "README.md"],
    "models": ["*.md", "*.pt", "reidforge-clip-s/*"],
    "recipes": ["*.yaml", "*.json", "filters/*.yaml"],
}

setup(
    packages=[
        *find_packages(include=["pipeline*", "stages*", "evaluation*", "schemas*"]),
        *(f"reidforge.{folder}" for folder in SHIPPED),
    ],
    package_dir={f"reidforge.{folder}": folder for folder in SHIPPED},
    package_data={
        "stages": ["**/*.yaml"],
        "schemas": ["*.sql"],
        **{f"reidforge.{folder}": patterns for folder, patterns in SHIPPED.items()},
    },
)
