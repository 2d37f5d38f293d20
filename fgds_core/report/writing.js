"use strict";
const fgds = {};
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, attributes = {}, ...inside) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in element && key !== "role") element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...inside);
    return element;
  };

  let loading = "lazy"; // of pictures, until all else is there

  // Charts: one after the other, so that the page answers meanwhile.
  const draw = async () => {
    const { specs, config } = JSON.parse(find("#charts").textContent);
    for (const place of all("[data-chart]")) {
      const options = { actions: false, renderer: "svg", config };
      await window.vegaEmbed(place, structuredClone(specs[place.dataset.chart]), options);
      await new Promise((done) => setTimeout(done));
    }
    document.documentElement.dataset.charts = "drawn";
    loading = "eager"; // the page is there: what is far from sight may come, and a print has it
    all("img").forEach((each) => (each.loading = loading));
  };
  window.addEventListener("load", () => draw().catch((error) => console.error(error)));

  // The tables of classes: sorted by a header or by the list, searched by name.
  const value = (cell) => {
    const text = cell.firstElementChild?.tagName === "B" ? cell.firstElementChild.textContent : cell.textContent;
    const number = Number(text.trim().replace("\u2212", "-").replace(/[<=,\s]/g, ""));
    return text.trim() === "\u2013" ? null : Number.isNaN(number) ? text.trim() : number;
  };
  const table = find("#class-table");
  if (table) {
    const body = find("tbody", table);
    const headers = all("thead th", table);
    const names = headers.map((header) => header.textContent.trim());
    const rows = [...body.rows];
    const order = new Map(rows.map((row, place) => [row, place]));
    const columns = new Map(); // values of a column, read when it is sorted by
    const keysOf = (column) => {
      if (!columns.has(column)) columns.set(column, rows.map((row) => value(row.cells[column])));
      return columns.get(column);
    };
    const isNumeric = (column) => rows.slice(0, 50).some((row) => typeof value(row.cells[column]) === "number") || keysOf(column).some((key) => typeof key === "number");
    // On a narrow page each number stands under its own heading: a rule for each column.
    document.head.append(make("style", {}, names.map((name, column) => (column ? `#class-table td:nth-child(${column + 1}) { --of: ${JSON.stringify(name)}; }` : "")).join("\n")));
    const list = find("#sort");
    list.append(make("option", { value: "" }, "rarest first"));
    names.forEach((name, column) => {
      const numeric = isNumeric(column);
      for (const [direction, said] of numeric ? [["descending", "largest first"], ["ascending", "smallest first"]] : [["ascending", "A to Z"], ["descending", "Z to A"]]) {
        list.append(make("option", { value: `${column} ${direction}` }, `${name}, ${said}`));
      }
    });
    const sort = (column, direction) => {
      const sign = direction === "ascending" ? 1 : -1;
      const keys = direction ? keysOf(column) : [];
      const compared = (a, b) => {
        const [first, second] = [keys[order.get(a)], keys[order.get(b)]];
        if (first === second) return order.get(a) - order.get(b);
        if (first === null || second === null) return first === null ? 1 : -1; // what is missing comes last
        return sign * (typeof first === "number" && typeof second === "number" ? first - second : String(first).localeCompare(String(second)));
      };
      body.append(...(direction ? [...rows].sort(compared) : rows));
      headers.forEach((header, place) => header.setAttribute("aria-sort", place === column && direction ? direction : "none"));
      list.value = direction ? `${column} ${direction}` : "";
    };
    headers.forEach((header, column) =>
      find("button", header).addEventListener("click", () => {
        const numeric = isNumeric(column);
        const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
        sort(column, header.getAttribute("aria-sort") === first ? second : first);
      }),
    );
    list.addEventListener("change", () => {
      const [column, direction] = list.value.split(" ");
      sort(Number(column), direction);
    });
    const search = find("#search");
    const bin = find("#bin");
    const show = () => {
      const wanted = search.value.trim().toLocaleLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden = !row.cells[0].textContent.toLocaleLowerCase().includes(wanted) || (bin !== null && bin.value !== "" && row.cells[1].textContent.trim() !== bin.value);
        shown += !row.hidden;
      }
      const number = (count) => count.toLocaleString("en");
      find("#found").textContent = shown === rows.length ? `${number(shown)} classes` : `${number(shown)} of ${number(rows.length)} classes`;
    };
    search.addEventListener("input", show);
    bin?.addEventListener("change", show);
  }

  // The pictures of a class: read from the page, or from the folder beside it, when it is opened.
  const waiting = new Map();
  fgds.pictures = (key, found) => waiting.get(key)?.(found);
  const read = (key) =>
    new Promise((done, failed) => {
      const inside = document.getElementById(`pictures-${key}`);
      if (inside) return done(JSON.parse(inside.textContent));
      waiting.set(key, done);
      const file = typeof key === "number" ? String(key).padStart(5, "0") : key;
      const script = make("script", { src: `pictures/${file}.js` });
      script.addEventListener("error", () => failed(new Error("The folder pictures is not beside the page.")));
      document.head.append(script);
    });
  const image = (source, words) => make("img", { src: source, alt: words, loading, decoding: "async" });
  // On paper nothing can be opened: the parameters are, and what was left closed is left out.
  const parameters = find("#parameters");
  let wasOpen = false;
  window.addEventListener("beforeprint", () => {
    wasOpen = parameters?.open ?? false;
    if (parameters) parameters.open = true;
  });
  window.addEventListener("afterprint", () => {
    if (parameters) parameters.open = wasOpen;
  });
  const pair = (key, text) => make("div", {}, make("dt", {}, key), make("dd", {}, text));

  const dialog = find("#picture");
  const openPicture = (name, item) => {
    const stands = (source, words, other) => make("figure", { className: other ? "other" : "" }, image(source, words), make("figcaption", {}, words));
    const strip = make("div", { className: "strip" }, stands(item.picture, item.without ? "with feedback" : "synthetic", false));
    if (item.without) strip.append(stands(item.without, "without feedback, same seed", false));
    if (item.real) strip.append(stands(item.real, `what it may copy, a ${item.split} image`, true));
    if (item.from) strip.append(stands(item.from, "made from", false));
    for (const near of item.near ?? []) strip.append(stands(near.picture, `near: ${near.class}, distance ${near.distance}`, near.other));
    const close = make("button", { type: "button" }, "Close");
    close.addEventListener("click", () => dialog.close());
    const commands = item.commands.map((command) => {
      const button = make("button", { type: "button", "aria-label": `Copy ${command}` }, "Copy");
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(command);
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(button.previousSibling); // without permission: to copy by hand
        }
      });
      return make("div", { className: "command" }, make("code", {}, command), button);
    });
    dialog.replaceChildren(
      make("header", {}, make("h3", { id: "picture-title" }, `${name}, synthetic image ${item.index}`), close),
      strip,
      make("dl", { className: "pairs" }, ...item.row.map(([key, text]) => pair(key, text))),
      ...commands,
    );
    dialog.showModal();
  };

  const tileOf = (name, item, said) => {
    const words = `synthetic ${name}, image ${item.index}${said}`;
    const button = make("button", { type: "button", className: `tile ${item.wrong ? "wrong" : "made"}`, title: words }, image(item.picture, words));
    button.addEventListener("click", () => openPicture(name, item));
    return button;
  };

  // Suspected copies beside what they may copy: read when they are asked for.
  const copies = find("#copy-pairs");
  copies?.addEventListener("toggle", async () => {
    const strip = find(".strip", copies);
    if (!copies.open || strip.childElementCount) return;
    try {
      const pairs = await read("copies");
      strip.append(...pairs.map((pair) => make("figure", {}, make("div", { className: "both" }, tileOf(pair.class, pair, ""), image(pair.real, `the ${pair.split} image that it may copy`)), make("figcaption", {}, `${pair.class} ${pair.index}; ${pair.split}`))));
    } catch (error) {
      strip.append(make("p", {}, error.message));
    }
  });

  const panel = find("#open-class");
  const chooser = find("#class");
  const openClass = async (number, { aloud = true } = {}) => {
    let found;
    try {
      found = await read(number);
    } catch (error) {
      panel.replaceChildren(make("p", {}, error.message));
      return;
    }
    chooser.value = String(number);
    const tile = (item) => tileOf(found.class, item, item.wrong ? ", the judge sees another class" : "");
    const both = (item) => make("div", { className: "both" }, tile(item), image(item.without, `the same ${found.class} without feedback, image ${item.index}`));
    panel.replaceChildren(make("h3", {}, found.class));
    for (const { title, pictures = [], items = [], pairs = false, gone = [] } of found.strips) {
      const shown = [
        ...pictures.map((source) => image(source, `real ${found.class}`)),
        ...items.map((place) => (pairs ? both : tile)(found.items[place])),
        ...gone.map((item) => tileOf(found.class, { ...item, wrong: true }, ", left out")),
      ];
      if (shown.length) panel.append(make("h4", {}, title), make("div", { className: "strip" }, ...shown));
    }
    panel.dataset.open = String(number);
    if (aloud) find("#opened").textContent = `${found.class}: ${all("img", panel).length} pictures`;
  };
  const numberOf = (hash) => Number(/^#class-(\d+)$/.exec(hash)?.[1] ?? NaN);
  const follow = () => {
    const number = numberOf(location.hash);
    if (Number.isNaN(number) || !panel) return;
    openClass(number).then(() => {
      find("#pictures").scrollIntoView();
      panel.focus({ preventScroll: true });
    });
  };
  if (chooser) {
    const step = (by) => {
      const place = (chooser.selectedIndex + by + chooser.length) % chooser.length;
      openClass(Number(chooser.options[place].value));
    };
    chooser.addEventListener("change", () => openClass(Number(chooser.value)));
    find("#before").addEventListener("click", () => step(-1));
    find("#after").addEventListener("click", () => step(1));
    window.addEventListener("hashchange", follow);
    if (Number.isNaN(numberOf(location.hash))) openClass(Number(chooser.value), { aloud: false });
    else follow();
  }
})();
