"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // The block is parsed when it is first needed: the page shows before that.
  let parsed;
  const data = () => (parsed ??= JSON.parse($("#data").textContent));
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const find = $("#find");
  const query = () => (find ? find.value.trim().toLowerCase() : "");

  const podList = (names) => {
    const list = element("ul", undefined, "podlist");
    const wanted = query();
    for (const name of names) {
      const item = element("li");
      item.append(wanted && name.toLowerCase().includes(wanted) ? element("mark", name) : name);
      list.append(item);
    }
    return list;
  };
  const substitutes = (rows) => {
    const table = element("table");
    for (const row of rows) {
      const line = table.insertRow();
      row.forEach((cell, at) => line.append(element("td", cell, at > 2 ? "r" : "")));
    }
    return table;
  };
  const fill = (details) => {
    const into = $(".fill", details);
    const section = (title, content) => into.append(element("h4", title), content);
    into.replaceChildren();
    if (details.dataset.out !== undefined) {
      into.append(podList(data().out[details.dataset.out]));
      return;
    }
    const node = data().nodes[details.dataset.at];
    if (node.p.length) section("Pods placed here", podList(node.p));
    if (node.a) section("Would hold the same pods, cheapest first", substitutes(node.a));
  };
  document.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.matches("details")) fill(event.target);
  }, true);

  const openTarget = () => {
    const target = /^#n\d+$/.test(location.hash) && $(location.hash);
    if (!target) return;
    target.hidden = false;
    target.open = true;
    fill(target);
    target.scrollIntoView({ block: "center" });
    $("summary", target).focus({ preventScroll: true });
  };
  addEventListener("hashchange", openTarget);

  const rows = all("#nodes > details");
  let haystacks;
  const filter = () => {
    const wanted = query();
    const show = $("input[name=show]:checked").value;
    haystacks ??= rows.map((row) => {
      const node = data().nodes[row.dataset.at];
      return [$("summary", row).textContent, node.s, ...node.p].join("\n").toLowerCase();
    });
    let found = 0;
    rows.forEach((row, at) => {
      const hit = (show === "all" || row.dataset.show.split(" ").includes(show)) && haystacks[at].includes(wanted);
      row.hidden = !hit;
      found += hit;
      if (hit && row.open) fill(row);
    });
    $("#found").textContent = found === 1 ? "1 node" : `${found} nodes`;
    $(".list .nothing").hidden = found > 0;
  };
  if (find) {
    let waiting;
    find.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });
    all("input[name=show]").forEach((choice) => choice.addEventListener("change", filter));
  }

  const tiles = all(".tile");
  const readout = $("#readout");
  let current = null;
  let touched = false;
  const point = (tile) => {
    current?.classList.remove("on");
    current = tile;
    tile.classList.add("on");
    const link = element("a", "Open");
    link.href = tile.hash;
    readout.replaceChildren(element("span", tile.dataset.title, "text"), link);
    tiles.forEach((other) => { other.tabIndex = other === tile ? 0 : -1; });
  };
  const neighbour = (from, key) => {
    const at = tiles.indexOf(from);
    if (key === "ArrowRight") return tiles[at + 1];
    if (key === "ArrowLeft") return tiles[at - 1];
    if (key === "Home") return tiles[0];
    if (key === "End") return tiles[tiles.length - 1];
    const line = tiles.filter((tile) => tile.offsetLeft === from.offsetLeft);
    if (key === "ArrowDown") return line.find((tile) => tile.offsetTop > from.offsetTop);
    if (key === "ArrowUp") return line.reverse().find((tile) => tile.offsetTop < from.offsetTop);
    return undefined;
  };
  if (tiles.length) {
    // The readout replaces the browser's tooltip, which needs patience and does not exist for touch.
    tiles.forEach((tile, at) => { tile.dataset.title = tile.title; tile.removeAttribute("title"); tile.tabIndex = at ? -1 : 0; });
    const box = $("#tiles");
    box.addEventListener("pointerover", (event) => { const tile = event.target.closest(".tile"); if (tile && event.pointerType === "mouse") point(tile); });
    box.addEventListener("focusin", (event) => { const tile = event.target.closest(".tile"); if (tile && !touched) point(tile); });
    box.addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; });
    box.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      // The first tap shows the node, the second opens it.
      if (tile && touched && tile !== current) { event.preventDefault(); point(tile); }
      touched = false;
    });
    box.addEventListener("keydown", (event) => {
      const next = event.target.matches(".tile") && neighbour(event.target, event.key);
      if (next) { event.preventDefault(); next.focus(); }
    });
  }
  openTarget();
  document.documentElement.dataset.ready = "1";
})();
