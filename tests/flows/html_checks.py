"""What must hold for every page: HTML that a strict parser takes, names for what is operated."""

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import html5lib

if TYPE_CHECKING:
    from playwright.sync_api import Page

REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for")
OPERATED = {"button", "link", "combobox", "searchbox", "textbox", "checkbox", "DisclosureTriangle"}
NAMED = OPERATED | {"region", "image", "graphics-document", "table", "navigation", "search"}


def complaints(html: str) -> list[str]:
    """What a strict parser refuses, and references and headings that lead nowhere."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(html)
    found = [f"{place}: {code} {detail}" for place, code, detail in parser.errors]
    elements = [element for element in tree.iter() if isinstance(element.tag, str)]
    ids = Counter(element.get("id") for element in elements if element.get("id") is not None)
    found += [f"id {name} is there {count} times" for name, count in ids.items() if count > 1]
    for element in elements:
        for name in REFERENCES:
            wanted = (element.get(name) or "").split()
            found += [f"{name}={target} leads nowhere" for target in wanted if target not in ids]
        target = element.get("href") or ""
        if target.startswith("#") and target[1:] not in ids:
            found.append(f"href {target} leads nowhere")
    levels = [int(e.tag[1]) for e in elements if e.tag in ("h1", "h2", "h3", "h4", "h5", "h6")]
    found += [f"h{b} after h{a}" for a, b in pairwise(levels) if b > a + 1]
    if levels.count(1) != 1:
        found.append(f"{levels.count(1)} headings of the first level")
    return found


def nameless(page: "Page") -> list[str]:
    """Roles of what a screen reader would come upon without a name, by Chromium's own tree."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return [
        f"{_value(node, 'role')} {node.get('properties', '')}"
        for node in nodes
        if not node.get("ignored") and _value(node, "role") in NAMED and not _value(node, "name")
    ]


def _value(node: dict[str, Any], key: str) -> str:
    return str(node.get(key, {}).get("value", "")).strip()


def tab_walk(page: "Page", steps: int) -> list[str]:
    """Where the Tab key leads from the top of the page, as "tag: name"; "body" is the end."""
    where = """() => {
      const at = document.activeElement;
      const box = at.getBoundingClientRect();
      const seen = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight;
      const name = (at.getAttribute('aria-label') || at.innerText || at.id).trim().slice(0, 60);
      return `${at.tagName.toLowerCase()}: ${name}${seen ? '' : ' (off the screen)'}`;
    }"""
    found = []
    for _ in range(steps):
        page.keyboard.press("Tab")
        found.append(page.evaluate(where))
    return found
