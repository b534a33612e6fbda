"""What the package index is told: all its addresses, made of the one in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PAGES = {  # label -> path below the repository's address; {tag} is the release
    "Homepage": "",
    "Documentation": "/blob/{tag}/docs/tutorial.md",
    "Changelog": "/blob/{tag}/CHANGELOG.md",
    "Source": "/tree/{tag}",
    "Issues": "/issues",
    "Spec schema": "/raw/{tag}/docs/parity.schema.json",  # --ncnn-parity-init writes it into a spec
}
IMAGE = re.compile(r"(!\[[^\]]*\]\()(?!\w+:)([^)]+)\)")
LINK = re.compile(r"((?<!!)\[[^\]]*\]\()(?![\w]+:|#)([^)]+)\)")


class Addresses(MetadataHookInterface):
    """Hatchling looks for the one subclass in this file, and asks it for what is dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository, tag = self.config["repository"], f"v{metadata['version']}"
        metadata["urls"] = {label: repository + path.format(tag=tag) for label, path in PAGES.items()}
        readme = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_addresses(readme, repository, tag),
        }


def with_addresses(markdown: str, repository: str, tag: str) -> str:
    """A README whose links and images work away from the repository: relative ones become absolute."""
    markdown = IMAGE.sub(rf"\1{repository}/raw/{tag}/\2)", markdown)
    return LINK.sub(rf"\1{repository}/blob/{tag}/\2)", markdown)
