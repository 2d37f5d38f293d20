"""Text that can hardly be read: what WCAG calls too little contrast, HTML and charts alike.

axe leaves text in SVG undecided; this asks about it too, and about a page as it is printed.
"""

from typing import Any

from playwright.sync_api import Page

LEAST, LEAST_LARGE = 4.5, 3.0
"""Of WCAG 2.2, level AA; large is from 24 pixels on, or 18.66 in bold."""

_FIND = """([least, leastLarge]) => {
  const parse = (text) => {
    const found = text.match(/rgba?\\(([^)]+)\\)/);
    if (!found) return null;
    const [r, g, b, a = 1] = found[1].split(/[ ,/]+/).map(Number);
    return { r, g, b, a };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a),
    g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a),
    a: 1,
  });
  const luminance = ({ r, g, b }) => {
    const [R, G, B] = [r, g, b].map((each) => {
      const c = each / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour && colour.a) layers.push(colour);
    }
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255 });
  };
  const opacity = (element) =>
    ["opacity", "fill-opacity"].reduce((all, name) => all * (element.getAttribute(name) ?? 1), 1);
  const cellBehind = (text) => {
    const box = text.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const cells = [...text.closest("svg").querySelectorAll(".mark-rect path")];
    return cells.find((cell) => {
      const at = cell.getBoundingClientRect();
      return at.left <= x && x <= at.right && at.top <= y && y <= at.bottom;
    });
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, style, noscript, option, .hidden, .skip")) continue;
    if (!element.checkVisibility() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const drawn = element.closest("svg");
    let ground = behind(drawn ? drawn.parentElement : element);
    if (drawn) {
      const cell = cellBehind(element);
      const fill = cell && parse(getComputedStyle(cell).fill);
      if (fill) ground = over({ ...fill, a: fill.a * opacity(cell) }, ground);
    }
    const ink = parse(drawn ? style.fill : style.color);
    if (!ink) continue;
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const has = ratio(over(ink, ground), ground);
    found.push({ text, has, enough: has >= (large ? leastLarge : least), drawn: Boolean(drawn) });
  }
  return found;
}"""


def texts(page: Page) -> list[dict[str, Any]]:
    """Every text that is shown: its contrast, whether that is enough, whether it is in a chart."""
    found: list[dict[str, Any]] = page.evaluate(_FIND, [LEAST, LEAST_LARGE])
    return found


def too_faint(page: Page) -> list[str]:
    """Texts that are shown with too little contrast."""
    return [f"{each['text']} ({each['has']:.1f})" for each in texts(page) if not each["enough"]]
