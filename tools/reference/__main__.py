"""Write the API reference as web pages, from the docstrings.

    python -m tools.reference build/docs

The pages are of the modules that a user imports: not of `_internal` and not of `pb`.
"""

import re
import sys
import warnings
from pathlib import Path
from pkgutil import walk_packages

import pdoc.render
from jinja2 import pass_context
from jinja2.runtime import Context
from pdoc.extract import walk_specs

import redisflow_lab
from redisflow_lab import lab

# "min_idle_ms: claim entries that ..." and the indented lines below it. Not a first line, and
# not one that goes on without indentation: that is a sentence.
_ARGUMENT = re.compile(
    r"(?!\A)^(\w+(?:, \w+)*): +(\S.*(?:\n[ ]+\S.*)*)$(?=\s*\Z|\n\s*\n|\n\w+(?:, \w+)*: )",
    re.MULTILINE,
)


def public_modules() -> list[str]:
    chosen = [redisflow_lab.__name__]
    for module in walk_packages(redisflow_lab.__path__, "redisflow_lab."):
        _, *parts = module.name.split(".")
        private = parts[0] == "pb" or any(part.startswith("_") for part in parts)
        # pdoc adds the modules of a package by itself, unless the package has __all__.
        if not private and module.name not in walk_specs(chosen):
            chosen.append(module.name)
    return chosen


@pass_context
def to_markdown(_: Context, docstring: str) -> str:
    """The docstring, with its arguments as a list: as plain text they would run together."""

    def item(found: re.Match[str]) -> str:
        return f"- **{found[1]}**: {' '.join(found[2].split())}"

    # A list needs an empty line before it, and one after it.
    return re.sub(
        r"(?:^- \*\*.*\n?)+", r"\n\g<0>\n", _ARGUMENT.sub(item, docstring), flags=re.MULTILINE
    )


def write(folder: Path) -> None:
    """Raises UserWarning for whatever pdoc would only warn of."""
    warnings.filterwarnings("error", module="pdoc")
    # A table is a DataFrame, and not all annotations of pandas can be resolved.
    warnings.filterwarnings("ignore", message=".* for pandas", module="pdoc")
    pdoc.render.configure(
        docformat="markdown",
        footer_text=f"RedisFlow Lab {redisflow_lab.__version__}",
        show_source=False,
        template_directory=Path(__file__).parent,
    )
    pdoc.render.env.filters["to_markdown"] = to_markdown
    for name in lab.__all__:  # loaded when they are asked for, and pdoc does not ask
        setattr(lab, name, getattr(lab, name))
    pdoc.pdoc(*public_modules(), output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
