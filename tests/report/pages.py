"""What tests ask of a page: its parts, and faults that a browser would forgive."""

import re
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A page that was read.

    Attributes:
        tags: each with its attributes, in order.
        words: all text of the body.
        faults: tags that do not fit each other.
    """

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.words, self.faults = [], "", []
        self._open = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is left open" for tag in self._open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self.words += data

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def faults_of(text):
    """What is wrong with a page for those who read it with a screen reader, by keyboard, or offline."""
    page = Page(text)
    faults, ids = list(page.faults), [each["id"] for _, each in page.tags if "id" in each]
    faults += [f"id {each} twice" for each in set(ids) if ids.count(each) > 1]
    faults += [f"no {tag}" for tag in ("header", "main", "footer", "h1", "head") if len(page.of(tag)) != 1]
    faults += ["no language"] * (page.of("html")[0].get("lang") != "en")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    faults += [f"heading {b} after {a}" for a, b in zip(levels, levels[1:], strict=False) if b > a + 1]
    faults += ["a picture has no name"] * sum(
        each.get("role") != "img" or not each.get("aria-label") for each in page.of("svg")
    )
    faults += ["a header cell has no scope"] * sum("scope" not in each for each in page.of("th"))
    faults += ["a region has no name"] * sum(
        each.get("role") == "region" and not each.get("aria-label") for _, each in page.tags
    )
    faults += [f"a link to {each['href']}, which is not there" for each in page.of("a") if each["href"][1:] not in ids]
    for tag, each in page.tags:
        for name in ("src", "href", "action", "srcset"):
            if tag != "a" and name in each and not each[name].startswith("data:"):
                faults.append(f"<{tag}> asks for {each[name]}")
        faults += [f"<{tag}> acts: {name}" for name in each if name.startswith("on")]
    return faults + re.findall(r"url\([^)]*\)|@import", text)
