"""A page as a reader sees it: its texts, part by part."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "br", "img", "input", "line", "circle", "path", "rect"}
UNSEEN = {"script", "style", "noscript"}


class Reader(HTMLParser):
    """Collects the visible text of each section, of each table row, and what stands in JSON scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.sections: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.json: dict[str, Any] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        names = [tag for tag, _ in self._open]
        if "script" in names and self._open[-1][1].get("type") == "application/json":
            self.json[str(self._open[-1][1]["id"])] = json.loads(data)
        if UNSEEN.isdisjoint(names):
            for tag, attrs in self._open:
                if tag in ("section", "header"):
                    key = str(attrs.get("id", "header"))
                    self.sections[key] = self.sections.get(key, "") + data
            if {"td", "th"} & set(names):
                self.rows[-1][-1] += data

    @property
    def cells(self) -> list[list[str]]:
        """The rows of all tables, spaces made single."""
        return [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in self.rows]


def read(run: Path) -> Reader:
    """The page of a run."""
    return Reader((run / "report.html").read_text(encoding="utf-8"))
