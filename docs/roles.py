"""Let mkdocstrings show docstrings with roles of Sphinx."""
import re

from griffe import Extension, Object


class PlainRoles(Extension):
    """Turn what a role refers to into code: :func:`.find_videos`."""

    def on_object(self, *, obj: Object, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r':\w+:`[.~]?(.*?)`', r'`\1`',
                                         obj.docstring.value)
