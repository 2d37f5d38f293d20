"""Tables of a page as texts."""

from html.parser import HTMLParser

BELOW = ("under", "within")
"""Classes of what stands below a number or a name in its cell."""


def rows_of(html: str, table: str) -> list[list[str]]:
    """The cells of each row of a table's body, by the table's id; ` | ` before what is below."""
    reader = _Reader(table)
    reader.feed(html)
    return [[" ".join("".join(cell).split()) for cell in row] for row in reader.rows]


class _Reader(HTMLParser):
    def __init__(self, table: str) -> None:
        super().__init__()
        self.table, self.inside, self.in_body = table, False, False
        self.rows: list[list[list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.inside = dict(attrs).get("id") == self.table
        elif self.inside and tag == "tbody":
            self.in_body = True
        elif self.in_body and tag == "tr":
            self.rows.append([])
        elif self.in_body and tag in ("td", "th"):
            self.rows[-1].append([])
        elif self.in_body and tag == "span" and dict(attrs).get("class") in BELOW:
            self.rows[-1][-1].append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("tbody", "table"):
            self.in_body = False
            self.inside = self.inside and tag != "table"

    def handle_data(self, data: str) -> None:
        if self.in_body and self.rows and self.rows[-1]:
            self.rows[-1][-1].append(data)
