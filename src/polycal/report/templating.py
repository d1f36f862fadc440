"""The HTML templates of the report. All values are escaped."""

from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """The page of a template in ``templates``. Raises jinja2.UndefinedError if a value is missing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("polycal.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
