"use strict";
/* The page reads without this: it adds sorting, filters, quick tips, and the choice of the theme. */
(() => {
  const value = cell => {
    const v = cell.dataset.value;
    return v === undefined ? cell.textContent.trim().toLowerCase() : v === "" ? null : +v;
  };
  /* What was not measured stays last, whichever way. */
  const compare = (a, b, sign) => a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * sign;

  const sortBy = (table, th) => {
    const column = th.cellIndex, body = table.tBodies[0];
    const first = th.dataset.first || "ascending";
    const now = th.getAttribute("aria-sort");
    const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
    for (const other of th.parentNode.cells) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    [...body.rows].map((row, i) => [row, value(row.cells[column]), i])
      .sort((a, b) => compare(a[1], b[1], sign) || a[2] - b[2])
      .forEach(([row]) => body.append(row));
  };

  const addFilters = table => {
    const tools = document.createElement("div");
    tools.className = "tools";
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = "Filter rows";
    search.setAttribute("aria-label", "Filter rows");
    tools.append(search);
    const selects = [];
    for (const th of table.tHead.rows[0].cells) {
      if (!th.dataset.choose) continue;
      const column = th.cellIndex;
      const names = [...new Set([...table.tBodies[0].rows].map(r => r.cells[column].textContent.trim()))];
      if (names.length < 2) continue;
      const select = document.createElement("select");
      select.setAttribute("aria-label", th.dataset.choose);
      select.append(new Option("All " + th.dataset.choose, ""));
      for (const name of names) select.append(new Option(name, name));
      selects.push([select, column]);
      tools.append(select);
    }
    const count = document.createElement("span");
    count.className = "soft";
    tools.append(count);
    const apply = () => {
      const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        const keep = words.every(w => text.includes(w)) &&
          selects.every(([s, c]) => !s.value || row.cells[c].textContent.trim() === s.value);
        row.hidden = !keep;
        shown += keep;
      }
      count.textContent = shown + " of " + table.tBodies[0].rows.length + " rows";
    };
    search.addEventListener("input", apply);
    for (const [select] of selects) select.addEventListener("change", apply);
    apply();
    table.closest(".scroll").before(tools);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const th of table.tHead.rows[0].cells) {
      th.dataset.sortable = "";
      th.tabIndex = 0;
      th.addEventListener("click", () => sortBy(table, th));
      th.addEventListener("keydown", e => {
        if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sortBy(table, th); }
      });
    }
    addFilters(table);
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  document.body.append(tip);
  for (const rect of document.querySelectorAll(".hots rect")) {
    const title = rect.querySelector("title");
    rect.dataset.tip = title.textContent;
    rect.setAttribute("aria-label", title.textContent);
    title.remove();
    rect.addEventListener("pointermove", e => {
      tip.textContent = rect.dataset.tip;
      tip.style.display = "block";
      const box = tip.getBoundingClientRect();
      tip.style.left = Math.min(e.clientX + 14, innerWidth - box.width - 8) + "px";
      tip.style.top = (e.clientY + 18 + box.height > innerHeight ? e.clientY - box.height - 10 : e.clientY + 18) + "px";
    });
    rect.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  }

  const button = document.createElement("button");
  const root = document.documentElement;
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.type = "button";
  button.title = "Change the theme";
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  name();
  document.querySelector("nav > div").append(button);
})();
